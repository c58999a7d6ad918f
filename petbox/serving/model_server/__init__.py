"""A model server with TensorFlow Serving's REST API, on the C library of the `tensorflow` package.

It replaces `tensorflow_model_server` for development and CI. It serves several models, switches
versions without a gap and accepts the original's flags; it has no batching and no gRPC, and is not
for production. docs/model_server.md lists the differences and why.

    flags           the original's flags
    config          the original's configuration file
    http_server     HTTP/1.1 on a socket
    rest            a request to a response: URLs and statuses
    json_parser     JSON as RapidJSON reads it; json_numbers: its numbers; base64_decoder
    json_writer     JSON as RapidJSON writes it in error messages
    tensors         JSON values to tensors; examples: to the input of classify and regress
    inference       classify and regress
    responses       tensors, model status and metadata to JSON
    served_models   all models by name
    model_versions  loads and unloads the versions of one model; version_policy: which of them
    model           a loaded version; signature: one of its signatures; signature_def: as protobuf
    engine          what runs models, as a protocol
    tensorflow_*    the engine of SavedModels: TensorFlow's C library, its tensors, its sessions
    litert_engine   the engines of what `petbox convert` makes
    metrics         what runs the models, for the gateway's /metrics
    warmup          the warm-up requests in a model; records, tensor_proto: how they are stored
    status          errors as TensorFlow statuses, and their HTTP statuses
"""
