-- GET /metrics: Prometheus text about this gateway, and TensorFlow Serving's own if it has any.

local admission = require "gateway.admission"
local engines = require "gateway.engines"
local hooks = require "gateway.hooks"
local loaded_models = require "gateway.loaded_models"
local readiness = require "gateway.readiness"
local responses = require "gateway.responses"
local settings = require "settings"

local M = {}
local STARTED = ngx.time()
local MONITORING = "/monitoring/prometheus/metrics" -- TensorFlow Serving's path
local SECONDS = {0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60}
local BYTES = {1e3, 1e4, 1e5, 1e6, 4e6, 1e7, 2.5e7, 1e8, 1e9}

local requests, rejected = {}, {} -- counters, by their labels
local queue = {bounds = SECONDS, sum = 0, count = 0}
local engine = {bounds = SECONDS, sum = 0, count = 0}
local total = {bounds = SECONDS, sum = 0, count = 0}
local sizes = {bounds = BYTES, sum = 0, count = 0}

local function count(counter, labels) counter[labels] = (counter[labels] or 0) + 1 end

local function observe(histogram, value)
    histogram.sum, histogram.count = histogram.sum + value, histogram.count + 1
    for i, bound in ipairs(histogram.bounds) do
        if value <= bound then
            histogram[i] = (histogram[i] or 0) + 1
            return
        end
    end
end

-- An invocation that is over.
function M.observe(format, status, request, seconds, engine_seconds, bytes)
    count(requests, ('format="%s",status="%d"'):format(format, status))
    if request and request.rejected then
        count(rejected, ('reason="%s"'):format(request.rejected))
    end
    observe(total, seconds)
    observe(queue, request and request.waited or 0)
    observe(sizes, tonumber(bytes))
    if engine_seconds then observe(engine, engine_seconds) end
end

function M.respond()
    responses.require_method "GET, HEAD"
    local up, ready, out = {}, {}, {}

    local function describe(name, kind, help)
        out[#out + 1] = ("# HELP petbox_%s %s\n# TYPE petbox_%s %s\n"):format(name, help, name, kind)
    end
    local function add(name, kind, help, samples) -- a number, or numbers by their labels
        describe(name, kind, help)
        for labels, value in pairs(type(samples) == "table" and samples or {[""] = samples}) do
            local which = labels == "" and "" or "{" .. labels .. "}"
            out[#out + 1] = ("petbox_%s%s %.15g\n"):format(name, which, value)
        end
    end
    local function add_histogram(name, help, values)
        describe(name, "histogram", help)
        local sum = 0
        for i, bound in ipairs(values.bounds) do
            sum = sum + (values[i] or 0)
            out[#out + 1] = ('petbox_%s_bucket{le="%.15g"} %d\n'):format(name, bound, sum)
        end
        out[#out + 1] = ('petbox_%s_bucket{le="+Inf"} %d\npetbox_%s_sum %.15g\npetbox_%s_count %d\n')
            :format(name, values.count, name, values.sum, name, values.count)
    end

    for _, model in ipairs(readiness.states()) do
        local label = ('engine="%s"'):format(model.engine)
        up[label] = model.responds and 1 or 0
        if settings.multi_model then
            for name, one in pairs(select(2, loaded_models.all())) do
                name = name:gsub('["\\]', "\\%0")
                ready[('%s,model="%s"'):format(label, name)] = one.state == "loaded" and 1 or 0
            end
        else
            ready[('%s,model="%s"'):format(label, model.name)] = model.why and 0 or 1
        end
    end
    add("requests_total", "counter", "Invocations by format of the body and status.", requests)
    add("rejected_total", "counter", "Invocations that reached no model server, by reason.", rejected)
    add("in_flight", "gauge", "Requests at the model servers.", admission.in_use)
    add("slots", "gauge", "Requests that the model servers may have at once.", settings.slots)
    add("queued", "gauge", "Requests that wait for a slot.", admission.queued())
    add("body_memory_bytes", "gauge", "Memory reserved for bodies.", admission.held_bytes)
    add_histogram("queue_seconds", "Time in the queue for a slot.", queue)
    add_histogram("engine_seconds", "Time at the model server.", engine)
    add_histogram("request_seconds", "Time from a request's first byte to its response's last.", total)
    add_histogram("request_bytes", "Size of requests with their headers.", sizes)
    add("engine_up", "gauge", "Whether a model server responds.", up)
    add("model_ready", "gauge", "Whether every version of a model is ready.", ready)
    local hooks_up = {}
    for i, process in ipairs(hooks.states()) do
        hooks_up[('process="%d"'):format(i)] = process.up and 1 or 0
    end
    if hooks.exist then add("hook_up", "gauge", "Whether a hook process responds.", hooks_up) end
    add("stopping", "gauge", "Whether the container is stopping.", readiness.is_stopping() and 1 or 0)
    add("process_start_time_seconds", "gauge", "When the gateway started, in Unix time.", STARTED)
    -- Of several model servers the series would be the same.
    local own = #engines.all == 1 and engines.exchange(engines.all[1], MONITORING, 0.5, 1)
    if own and own.status == 200 and own.body:find "^#" then out[#out + 1] = own.body end
    return responses.send(200, "text/plain; version=0.0.4; charset=utf-8", table.concat(out))
end

return M
