"""Lambda functions: events of API Gateway and S3, their responses, and the detector inside them."""
