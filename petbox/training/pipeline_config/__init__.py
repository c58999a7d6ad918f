"""The Object Detection API's `pipeline.config`, translated to the Model Garden's configuration."""
