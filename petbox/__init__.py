"""petbox: a TensorFlow detector behind a SageMaker endpoint."""

__version__ = "0.1.0"
