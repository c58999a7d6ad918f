"""`petbox train-job`: training jobs on SageMaker, from outside."""
