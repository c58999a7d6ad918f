"""The smallest model: trains a softmax classifier of a CSV for a Lambda function."""
