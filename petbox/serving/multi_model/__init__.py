"""SageMaker's part of a multi-model endpoint, played on this machine."""
