"""Data sets: annotated images from every supported layout, label maps, and TFRecords."""
