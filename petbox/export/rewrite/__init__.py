"""Rewrites of an exported graph: same results, fewer nodes."""
