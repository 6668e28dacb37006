"""The page that classifies pictures in a browser, with the files of runtime/web."""
