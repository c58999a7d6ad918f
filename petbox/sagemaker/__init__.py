"""SageMaker: endpoints, batch transform and training jobs."""
