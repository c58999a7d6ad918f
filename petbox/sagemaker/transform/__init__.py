"""`petbox transform`: SageMaker's Batch Transform over a whole folder in S3."""
