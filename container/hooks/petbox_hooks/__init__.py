"""The runner of code/inference.py: the standard library and requests alone."""
