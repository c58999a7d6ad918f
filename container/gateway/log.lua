-- The log: one JSON line per request, without its payload. With a metrics namespace the lines of
-- invocations are also in CloudWatch's Embedded Metric Format, so that CloudWatch derives metrics.

local admission = require "gateway.admission"
local formats = require "gateway.formats"
local metrics = require "gateway.metrics"
local requests = require "gateway.requests"
local responses = require "gateway.responses"
local settings = require "settings"
local text = require "gateway.text"

local M = {}
local QUIET = {["/ping"] = true, ["/metrics"] = true}
local LINE = '{"time":"%s","status":%d,"method":%s,"path":%s,"type":%s,"bytes_in":%d,"bytes_out":%d,' ..
    '"engine_ms":%s,"waited_ms":%d,"total_ms":%d,"inference_id":%s,"error":%s'
local METRICS = ',"Invocations":1,"Invocation4XXErrors":%d,"Invocation5XXErrors":%d,"Dialect":"%s",' ..
    '"_aws":{"Timestamp":%.0f,"CloudWatchMetrics":[{"Namespace":%s,"Dimensions":[[],["Dialect"]],' ..
    '"Metrics":[%s]}]}'
local UNITS = {}
for name, unit in pairs {Invocations = "Count", Invocation4XXErrors = "Count",
    Invocation5XXErrors = "Count", waited_ms = "Milliseconds", total_ms = "Milliseconds",
    bytes_in = "Bytes", bytes_out = "Bytes"} do
    UNITS[#UNITS + 1] = ('{"Name":"%s","Unit":"%s"}'):format(name, unit)
end
UNITS = table.concat(UNITS, ",")
local ENGINE_UNIT = ',{"Name":"engine_ms","Unit":"Milliseconds"}' -- only if it is a number

local function milliseconds(seconds) return math.floor(1000 * seconds + 0.5) end

function M.write()
    local v, request = ngx.var, requests.current()
    local path, status, seconds = responses.path(), tonumber(v.status), tonumber(v.request_time)
    if QUIET[path] and status == 200 then return end -- some every minute, for the endpoint's life
    if not QUIET[path] then requests.finish(request) end
    if request then
        admission.finish(request)
        admission.free_memory(request)
    end
    -- nil for a request that reached no model server; of several attempts the last one counts
    local engine = request and request.engine_seconds or
        tonumber((v.upstream_response_time or ""):match "([%d.]+)$")
    local is_invocation = path == "/invocations" or path:find "^/endpoints/[^/]+/invocations$" or
        path:find "^/models/[^/]+/invoke$"
    local format = is_invocation and (request and request.format or formats.of_body())
    if is_invocation then
        metrics.observe(format, status, request, seconds, engine, v.request_length)
    end
    local line = LINE:format(v.time_iso8601, status, -- 0 if the client left before there was one
        text.quoted((v.request or ""):match "^[^ ]*"), -- after an error, request_method is GET
        text.quoted(path), text.quoted(v.content_type or ""), v.request_length, v.bytes_sent,
        engine and milliseconds(engine) or "null", milliseconds(request and request.waited or 0),
        milliseconds(seconds), text.quoted(v.http_x_amzn_sagemaker_inference_id or ""),
        text.quoted(v.why or ""))
    if request and request.trace_id then line = line .. ',"trace_id":"' .. request.trace_id .. '"' end
    if settings.metrics_namespace ~= "" and is_invocation then
        local kind = math.floor(status / 100)
        line = line .. METRICS:format(kind == 4 and 1 or 0, kind == 5 and 1 or 0, format,
            milliseconds(ngx.now()), text.quoted(settings.metrics_namespace),
            UNITS .. (engine and ENGINE_UNIT or ""))
    end
    v.line = line .. "}"
end

return M
