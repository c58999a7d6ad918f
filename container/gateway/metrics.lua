-- GET /metrics: Prometheus text about this gateway, and TensorFlow Serving's own if it has any.

local admission = require "gateway.admission"
local engines = require "gateway.engines"
local readiness = require "gateway.readiness"
local responses = require "gateway.responses"
local settings = require "settings"

local M = {}
local STARTED = ngx.time()
local MONITORING = "/monitoring/prometheus/metrics" -- TensorFlow Serving's path
local SECONDS = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}
local BYTES = {1e3, 1e4, 1e5, 1e6, 4e6, 1e7, 2.5e7, 1e8, 1e9}

local counters = {requests = {}, rejected = {}}

local function histogram(bounds) return {bounds = bounds, sum = 0, count = 0} end

local queue, engine, total, bodies = histogram(SECONDS), histogram(SECONDS), histogram(SECONDS), histogram(BYTES)

local function observe(values, value)
    values.sum, values.count = values.sum + value, values.count + 1
    for i, bound in ipairs(values.bounds) do
        if value <= bound then
            values[i] = (values[i] or 0) + 1
            return
        end
    end
end

local function count(name, labels) counters[name][labels] = (counters[name][labels] or 0) + 1 end

-- An invocation that is over.
function M.observe(format, status, rejected, seconds, waited, engine_seconds, bytes)
    count("requests", ('format="%s",status="%d"'):format(format, status))
    if rejected then
        count("rejected", ('reason="%s"'):format(rejected))
    end
    observe(total, seconds)
    observe(queue, waited)
    observe(bodies, bytes)
    if engine_seconds then
        observe(engine, engine_seconds)
    end
end

local function add(out, name, kind, help, samples)
    out[#out + 1] = ("# HELP petbox_%s %s\n# TYPE petbox_%s %s\n"):format(name, help, name, kind)
    for labels, value in pairs(samples) do
        labels = labels == "" and "" or "{" .. labels .. "}"
        out[#out + 1] = ("petbox_%s%s %.15g\n"):format(name, labels, value)
    end
end

local function add_histogram(out, name, help, values)
    out[#out + 1] = ("# HELP petbox_%s %s\n# TYPE petbox_%s histogram\n"):format(name, help, name)
    local sum = 0
    for i, bound in ipairs(values.bounds) do
        sum = sum + (values[i] or 0)
        out[#out + 1] = ('petbox_%s_bucket{le="%.15g"} %d\n'):format(name, bound, sum)
    end
    out[#out + 1] = ('petbox_%s_bucket{le="+Inf"} %d\npetbox_%s_sum %.15g\npetbox_%s_count %d\n'):format(
        name, values.count, name, values.sum, name, values.count)
end

function M.respond()
    responses.require_method("GET", "HEAD")
    local up, ready, out = {}, {}, {}
    for _, model in ipairs(readiness.states()) do
        local label = ('engine="%s"'):format(model.engine.address)
        up[label] = model.responds and 1 or 0
        ready[('%s,model="%s"'):format(label, model.name)] = model.why and 0 or 1
    end
    add(out, "requests_total", "counter", "Invocations by format of the body and status.", counters.requests)
    add(out, "rejected_total", "counter", "Invocations that never reached a model server, by reason.", counters.rejected)
    add(out, "in_flight", "gauge", "Requests at the model servers.", {[""] = admission.in_use})
    add(out, "slots", "gauge", "Requests that the model servers may have at once.", {[""] = settings.slots})
    add(out, "queued", "gauge", "Requests that wait for a slot.", {[""] = admission.queued()})
    add(out, "body_memory_bytes", "gauge", "Memory reserved for bodies.", {[""] = admission.held_bytes})
    add_histogram(out, "queue_seconds", "Time in the queue for a slot.", queue)
    add_histogram(out, "engine_seconds", "Time at the model server.", engine)
    add_histogram(out, "request_seconds", "Time from the first byte of a request to the last of its response.", total)
    add_histogram(out, "request_bytes", "Size of requests with their headers.", bodies)
    add(out, "engine_up", "gauge", "Whether a model server responds.", up)
    add(out, "model_ready", "gauge", "Whether every version of a model is ready.", ready)
    add(out, "stopping", "gauge", "Whether the container is stopping.", {[""] = readiness.is_stopping() and 1 or 0})
    add(out, "process_start_time_seconds", "gauge", "When the gateway started, in Unix time.", {[""] = STARTED})
    -- Of several model servers the series would be the same.
    local own = #engines.all == 1 and engines.exchange(engines.all[1], "GET", MONITORING, nil, 0, 0.5, 1)
    if own and own.status == 200 then
        out[#out + 1] = own.body
    end
    return responses.send(200, "text/plain; version=0.0.4; charset=utf-8", table.concat(out))
end

return M
