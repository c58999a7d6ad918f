-- The settings from the environment, one per line. Rewritten by whatever starts nginx.
return {
    engines = {"127.0.0.1:8501"}, -- the model servers
    hooks = {}, -- the processes of the model's own code, which get the requests instead
    slots = 32, -- requests at all of them at once
    wait_seconds = 10, -- in the queue for a slot
    engine_seconds = 60, -- in the queue and at the model server
    payload_megabytes = 25, -- the largest body that /execution-parameters reports
    body_megabytes = 25, -- the largest body
    concurrent_transforms = 4,
    records_in_flight = 8, -- requests that JSON Lines of one client may have at once
    memory_bytes = 0, -- that the container may use; 0 if unknown
    models = {"model"}, -- the first is the default
    multi_model = false, -- models are loaded by POST /models instead
    batching = false,
    batch = false, -- a batch job: one line in the response for each line of CSV
    strings = "auto", -- strings in JSON Lines: images, text, or what the model takes
    page = false,
    metadata = false, -- GET /metadata
    check = false, -- or the address that `check --load` shows in its examples
    metrics_namespace = "",
}
