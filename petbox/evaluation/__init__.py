"""Evaluation: predictions compared with the ground truth, COCO metrics, plots and sheets."""
