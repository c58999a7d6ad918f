"""`petbox deploy`: an endpoint as one file says it is to be."""
