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
local UNITS = {
    {"Invocations", "Count"}, {"Invocation4XXErrors", "Count"}, {"Invocation5XXErrors", "Count"},
    {"engine_ms", "Milliseconds"}, {"waited_ms", "Milliseconds"}, {"total_ms", "Milliseconds"},
    {"bytes_in", "Bytes"}, {"bytes_out", "Bytes"},
}

local function milliseconds(seconds) return math.floor(1000 * seconds + 0.5) end

-- nil for a request that reached no model server; of several attempts the last one counts.
local function engine_seconds(request)
    local proxied = (ngx.var.upstream_response_time or ""):match "([%d.]+)$"
    return request and request.engine_seconds or tonumber(proxied)
end

local function is_invocation(path)
    return path == "/invocations" or path:find "^/endpoints/[^/]+/invocations$"
end

-- The part of a line that makes CloudWatch's metrics of `values`.
local function embedded_metrics(values)
    local kind = math.floor(values.status / 100)
    values.Invocations = 1
    values.Invocation4XXErrors = kind == 4 and 1 or 0
    values.Invocation5XXErrors = kind == 5 and 1 or 0
    local measured, fields = {}, {}
    for _, unit in ipairs(UNITS) do
        if values[unit[1]] then
            measured[#measured + 1] = ('{"Name":"%s","Unit":"%s"}'):format(unit[1], unit[2])
        end
    end
    for i = 1, 3 do
        fields[i] = ('"%s":%d'):format(UNITS[i][1], values[UNITS[i][1]])
    end
    return (',%s,"Dialect":"%s","_aws":{"Timestamp":%.0f,"CloudWatchMetrics":[{"Namespace":%s,' ..
        '"Dimensions":[[],["Dialect"]],"Metrics":[%s]}]}'):format(table.concat(fields, ","),
        formats.of_body(), milliseconds(ngx.now()), text.quoted(settings.metrics_namespace),
        table.concat(measured, ","))
end

function M.write()
    local v = ngx.var
    local request, path, status = requests.current(), responses.path(), tonumber(v.status)
    if QUIET[path] then
        if status == 200 then
            return -- one every few seconds for the life of the endpoint
        end
    else
        requests.finish(request)
    end
    local engine = engine_seconds(request)
    if request then
        admission.finish(request)
    end
    if is_invocation(path) then
        metrics.observe(formats.of_body(), status, request and request.rejected, tonumber(v.request_time),
            request and request.waited or 0, engine, tonumber(v.request_length))
    end
    local values = {
        status = status, -- 0 if the client left before there was one
        bytes_in = tonumber(v.request_length),
        bytes_out = tonumber(v.bytes_sent),
        engine_ms = engine and milliseconds(engine),
        waited_ms = milliseconds(request and request.waited or 0),
        total_ms = milliseconds(tonumber(v.request_time)),
    }
    local line = ('{"time":"%s","status":%d,"method":%s,"path":%s,"type":%s,"bytes_in":%d,"bytes_out":%d,' ..
        '"engine_ms":%s,"waited_ms":%d,"total_ms":%d,"inference_id":%s,"error":%s'):format(
        v.time_iso8601, status,
        text.quoted((v.request or ""):match "^[^ ]*"), -- after an error, request_method is GET
        text.quoted(path), text.quoted(v.content_type or ""), values.bytes_in, values.bytes_out,
        values.engine_ms or "null", values.waited_ms, values.total_ms,
        text.quoted(v.http_x_amzn_sagemaker_inference_id or ""), text.quoted(v.why or ""))
    if request and request.trace_id then
        line = line .. ',"trace_id":"' .. request.trace_id .. '"'
    end
    if settings.metrics_namespace ~= "" and is_invocation(path) then
        line = line .. embedded_metrics(values)
    end
    v.line = line .. "}"
end

return M
