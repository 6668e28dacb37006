"""Similar images: an index of embeddings, made of an artifact's images or of their scores."""
