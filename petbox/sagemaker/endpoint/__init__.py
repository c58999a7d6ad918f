"""`petbox endpoint`: SageMaker endpoints, from a model folder to an answer and back to nothing."""
