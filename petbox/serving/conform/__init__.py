"""`petbox conform`: checks any container against SageMaker's contract, line by line."""
