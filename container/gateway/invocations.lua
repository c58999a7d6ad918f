-- POST /invocations: checks the headers, reads the body, and gives it to the module of its format.

local admission = require "gateway.admission"
local attributes = require "gateway.attributes"
local builtin_form = require "gateway.builtin_form"
local formats = require "gateway.formats"
local images = require "gateway.images"
local json = require "gateway.json"
local json_lines = require "gateway.json_lines"
local requests = require "gateway.requests"
local responses = require "gateway.responses"
local settings = require "settings"
local tracing = require "gateway.tracing"
require "gateway.execution_parameters"
require "gateway.log"
require "gateway.metrics"
require "gateway.readiness"

local M = {}
local CODINGS = {[""] = "", identity = "", gzip = "gzip", ["x-gzip"] = "gzip"}
local TYPES = "application/json (TensorFlow Serving's predict request), application/jsonlines, a bare " ..
    "image as image/jpeg, image/png, image/gif, image/bmp or image/webp, or application/x-image"
local ROUTES = {
    ["json json"] = json.respond,
    ["picture json"] = images.respond,
    ["picture drawn"] = images.draw,
    ["builtin json"] = builtin_form.respond,
    ["builtin drawn"] = images.draw,
    ["lines json"] = json_lines.respond,
    ["lines lines"] = json_lines.respond,
}

-- Bytes of the body; nil if unknown.
local function announced_length()
    if ngx.var.http_transfer_encoding then
        return nil
    end
    local length = tonumber(ngx.var.http_content_length or "0")
    if length == 0 then
        return responses.fail(400, "the request has no body; send predict JSON, JSON Lines or an image")
    end
    return length
end

local function coding(format)
    local given = ngx.var.http_content_encoding or ""
    local meaning = CODINGS[given:lower()]
    if not meaning or meaning == "gzip" and (format ~= "json" and format ~= "unknown") then
        return responses.fail(415, "Content-Encoding " .. given .. ": only application/json may be " ..
            "compressed, with gzip; send other types uncompressed")
    end
    return meaning
end

function M.respond()
    responses.require_method "POST"
    local request = requests.begin()
    request.trace_id = tracing.id()
    ngx.header.traceparent = request.trace_id and ngx.var.http_traceparent
    local format = formats.of_body()
    local length = announced_length()
    request.method, request.path = attributes.read()
    if request.method ~= "predict" and format ~= "json" and format ~= "unknown" then
        return responses.fail(400, "X-Amzn-SageMaker-Custom-Attributes: tfs-method=" .. request.method ..
            " works with application/json only")
    end
    ngx.var.engine_coding = coding(format)
    ngx.var.engine_path = request.path .. ":" .. request.method
    if format == "unknown" then
        return responses.fail(415, "Content-Type " .. ngx.var.content_type .. ": not supported; send " .. TYPES)
    end
    local route = ROUTES[format .. " " .. formats.of_response()]
    if not route then
        return responses.fail(406, ("Accept %s: not available for Content-Type %s; use application/json, " ..
            "or image/jpeg for a bare image"):format(ngx.var.http_accept, ngx.var.content_type or "(none)"))
    end
    -- Other formats than JSON are copied.
    admission.reserve(request, (format == "json" and 1 or 3) * (length or settings.body_megabytes * 2 ^ 20))
    ngx.req.read_body()
    return route(request)
end

return M
