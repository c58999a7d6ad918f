"""Export: a trained network, or an existing SavedModel, becomes one that takes image files."""
