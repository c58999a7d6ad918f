"""`petbox local`: an image on this machine, run as SageMaker runs it."""
