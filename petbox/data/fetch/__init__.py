"""Downloads and archives, each checked before anything uses it."""
