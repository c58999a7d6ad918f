"""`petbox tune`: measures which settings of the model server suit a model and a machine."""
