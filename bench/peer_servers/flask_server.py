"""AWS's template for containers of one's own: flask under gunicorn behind nginx, /ping and
/invocations."""

import json

import flask
import peer_model

app = flask.Flask(__name__)


@app.route("/ping", methods=["GET"])
def ping() -> flask.Response:
    return flask.Response("\n", status=200, mimetype="application/json")


@app.route("/invocations", methods=["POST"])
def invocations() -> flask.Response:
    if flask.request.content_type != "image/jpeg":
        return flask.Response("wanted: image/jpeg\n", status=415, mimetype="text/plain")
    answer = json.dumps(peer_model.detect(flask.request.data))
    return flask.Response(answer, status=200, mimetype="application/json")
