"""A model server that speaks TensorFlow Serving's REST API over the `tensorflow` package.

It stands in for `tensorflow_model_server` where there is none: on a laptop and in CI. It loads
one model once and answers predict and status requests; it reloads nothing, batches nothing and
speaks no gRPC. `python -m petbox.model_server --help` says how it is started.

    listener   the socket, HTTP/1.1
    rest       a request in, an answer out: URLs and statuses
    json_text  JSON as RapidJSON reads it
    tensors    JSON values to tensors
    answers    tensors to TensorFlow Serving's JSON text
    model      the SavedModel and its signatures
    warmup     the requests a model carries along to be warmed up with
    refusal    what is said no to, and with which status
"""
