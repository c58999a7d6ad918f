"""Evaluation: predictions against the ground truth, COCO metrics, plots and sheets."""
