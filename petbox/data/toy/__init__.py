"""The toy data set: drawn pets with their boxes."""
