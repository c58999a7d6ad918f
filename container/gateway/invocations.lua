-- POST /invocations: checks the headers, reads the body, and gives it to the module of its format.

local admission = require "gateway.admission"
local bodies = require "gateway.bodies"
local builtin_form = require "gateway.builtin_form"
local formats = require "gateway.formats"
local hooks = require "gateway.hooks"
local images = require "gateway.images"
local json = require "gateway.json"
local json_lines = require "gateway.json_lines"
local multi_model = require "gateway.multi_model"
local outputs = require "gateway.outputs"
local read_attributes = require "gateway.attributes"
local requests = require "gateway.requests"
local responses = require "gateway.responses"
local settings = require "settings"
local tensors = require "gateway.tensors"

local M = {}
local CODINGS = {[""] = "", identity = "", gzip = "gzip", ["x-gzip"] = "gzip"}
local TYPES = "application/json (TensorFlow Serving's predict request, or bare JSON), " ..
    "application/jsonlines, text/csv, application/x-npy, a bare image as image/jpeg, image/png, " ..
    "image/gif, image/bmp or image/webp, or application/x-image"
local ROUTES = { -- by the formats of the body and of the response
    json = {},
    picture = {drawn = images.draw},
    builtin = {json = builtin_form, drawn = images.draw},
    lines = {json = json_lines.lines, lines = json_lines.lines, csv = json_lines.lines_to_csv},
    csv = {},
    npy = {},
}
for from, read in pairs(tensors.read) do
    for _, to in ipairs {"json", "lines", "csv", "npy"} do
        ROUTES[from][to] = function(request) return tensors.respond(request, read, outputs[to]) end
    end
end
ROUTES.json.json, ROUTES.picture.json = json.respond, images.respond -- without a copy
local BATCH_ROUTES = {lines = json_lines.csv_to_lines, csv = json_lines.csv_to_csv}

-- What handles this body, and the format of the response; nil if the client accepts no possible one.
local function find_route(format)
    local accepted, anything = formats.of_response()
    local is_batch = settings.batch and format == "csv"
    if is_batch and anything then accepted = {"lines"} end
    for _, output in ipairs(accepted) do
        local route = is_batch and BATCH_ROUTES[output] or ROUTES[format][output]
        if route then return route, output end
    end
end

function M.respond()
    responses.require_method "POST"
    multi_model.check_url()
    if hooks.exist then return hooks.respond() end
    local request, v = requests.begin(), ngx.var
    if request.trace_id then ngx.header.traceparent = v.http_traceparent end
    local length = not v.http_transfer_encoding and tonumber(v.http_content_length or 0) -- or unknown
    if length == 0 then
        responses.fail(400, "the request has no body; send predict JSON, JSON Lines, CSV or an image")
    end
    local format, coding = formats.of_body(), v.http_content_encoding or ""
    request.format = format
    local is_json = format == "json" or format == "unknown"
    local method, path = read_attributes(multi_model.path_of(request))
    request.path, v.engine_path = path, path .. ":" .. method
    v.engine_coding = CODINGS[coding:lower()]
    if method ~= "predict" and not is_json then
        responses.fail(400, ("X-Amzn-SageMaker-Custom-Attributes: tfs-method=%s works with " ..
            "application/json only"):format(method))
    elseif not CODINGS[coding:lower()] or v.engine_coding == "gzip" and not is_json then
        responses.fail(415, ("Content-Encoding %s: only application/json may be compressed, " ..
            "with gzip; send other types uncompressed"):format(coding))
    elseif format == "unknown" then
        responses.fail(415, ("Content-Type %s: not supported; send %s"):format(v.content_type, TYPES))
    end
    local route, output = find_route(format)
    if not route then
        responses.fail(406, ("Accept %s: not available for Content-Type %s; use %s"):format(v.http_accept,
            v.content_type or "(none)", formats.names(ROUTES[format])))
    elseif method ~= "predict" and output ~= "json" then
        responses.fail(406, ("Accept %s: not available with tfs-method=%s; use application/json"):format(
            v.http_accept, method))
    end
    -- Other formats than JSON are copied.
    local copies = is_json and output == "json" and 1 or format == "npy" and 8 or 3
    admission.reserve(request, copies * (length or settings.body_megabytes * 2 ^ 20))
    if format == "lines" then ngx.req.read_body() else bodies.read(length) end
    return route(request)
end

return M
