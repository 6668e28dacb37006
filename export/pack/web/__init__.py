"""The target web: a page that classifies pictures in the browser."""
