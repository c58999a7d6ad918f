"""Training: presets, the Faster R-CNN of the Model Garden, its input pipeline and its trainer."""
