"""Image files into pixels, inside the graph."""
