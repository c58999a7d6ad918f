"""Training: presets, the detectors of the Model Garden, its input pipeline and its trainer."""
