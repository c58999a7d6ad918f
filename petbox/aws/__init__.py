"""AWS: sessions, S3, ECR, logs and names. boto3 is imported when a call needs it."""
