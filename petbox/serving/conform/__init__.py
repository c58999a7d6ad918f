"""`petbox conform`: SageMaker's contract, put to any container line by line."""
