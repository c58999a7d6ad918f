"""Images outside any graph: reading, orienting, shrinking and drawing with Pillow."""
