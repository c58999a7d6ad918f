"""GET /monitoring/prometheus/metrics, TensorFlow Serving's path: what runs each loaded model.

The gateway adds it to its own /metrics.
"""

from __future__ import annotations

from collections.abc import Sequence

from petbox.serving.model_server.rest import Model, Response

PATH = "/monitoring/prometheus/metrics"
HEAD = """\
# HELP petbox_model_info The engine that runs a version of a model.
# TYPE petbox_model_info gauge
"""


def respond(models: Sequence[Model]) -> Response:
    lines = []
    for one in models:
        name = one.name.replace("\\", "\\\\").replace('"', '\\"')
        labels = f'model="{name}",version="{one.version}",engine="{one.engine}"'
        lines.append(f"petbox_model_info{{{labels}}} 1\n")
    headers = {"Content-Type": "text/plain; version=0.0.4; charset=utf-8"}
    return Response(200, headers, (HEAD + "".join(lines)).encode())
