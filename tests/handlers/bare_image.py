"""What AWS's container needs for a bare image, and petbox has itself."""

import base64
import json


def input_handler(data, context):
    if context.request_content_type != "application/x-image":
        raise ValueError(f"unsupported content type {context.request_content_type}")
    return json.dumps({"instances": [{"b64": base64.b64encode(data.read()).decode()}]})


def output_handler(response, context):
    if response.status_code != 200:
        raise ValueError(response.text)
    return response.content, context.accept_header
