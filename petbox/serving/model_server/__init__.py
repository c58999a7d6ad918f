"""A model server that speaks TensorFlow Serving's REST API over the `tensorflow` package.

It stands in for `tensorflow_model_server` where there is none: on a laptop and in CI. It serves
several models, changes their versions without a gap and takes the original's flags; it batches
nothing, speaks no gRPC and is not for production. `petbox-model-server --help` says how it is
started, docs/model_server.md where it differs and why.

    flags      the original's flags
    config     the original's configuration file
    listener   the socket, HTTP/1.1
    rest       a request in, an answer out: URLs and statuses
    json_text  JSON as RapidJSON reads it, and numbers; doubles: as it prints them
    tensors    JSON values to tensors; examples: to the input of classify and regress
    inference  what classify and regress ask of a model
    answers    tensors to TensorFlow Serving's JSON text; definition: a signature's
    servables  all models; shelf: the versions of one, over time; versions: the rules for that
    model      a SavedModel and its signatures
    warmup     the requests a model carries along to be warmed up with
    refusal    what is said no to, and with which status
"""
