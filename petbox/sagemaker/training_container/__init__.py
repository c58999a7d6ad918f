"""Inside a training job's container: SageMaker's contract, channels and hosts."""
