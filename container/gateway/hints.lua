-- Errors of TensorFlow Serving: those of the graph begin with their sentence, and those about a signature
-- or an input get what is valid, as a second key beside `error`. A response on its way cannot wait for
-- the signatures, so they are read before: when the model is ready, or after the first such error.

local cjson = require "cjson.safe"
local graph_errors = require "gateway.graph_errors"
local models = require "gateway.models"
local requests = require "gateway.requests"
local signature_text = require "gateway.signature_text"
local text = require "gateway.text"

local M = {}
local MOST = 10000 -- bytes of an error
local ABOUT_SIGNATURES = {"not found in signature def", "No signature was found with the name"}
local ABOUT_INPUTS = {"does not have named input", "Missing named input", "keys must be equal to",
    "required as per tensorinfo_map", "size does not match signature", "of expected type"}
local ABOUT_ROWS = {"has no shape information", "has inconsistent batch size"} -- of the outputs
local IN_GRAPH = {"{{node ", "{{function_node "} -- often a wrong shape, which only the graph checks

local function mentions(message, phrases)
    for _, phrase in ipairs(phrases) do
        if message:find(phrase, 1, true) then return true end
    end
    return false
end

-- The signature that a JSON request names, at its begin or its end.
local function signature_name()
    local body, pattern = ngx.var.request_body or "", '"signature_name"%s*:%s*"([^"\\]+)"'
    return body:sub(1, 1000):match(pattern) or body:sub(-1000):match(pattern) or "serving_default"
end

local function takes_numbers(signature)
    for _, input in pairs(signature.inputs) do
        if input.dtype ~= "DT_STRING" then return true end
    end
    return false
end

-- For a bare image.
function M.no_image(signature)
    return ("Content-Type %s: the model takes no image; its signature serving_default takes %s; send " ..
        "application/json"):format(ngx.var.content_type, signature_text.inputs(signature))
end

local function hint(message, signatures)
    if mentions(message, ABOUT_SIGNATURES) then
        return "the model has these signatures: " ..
            table.concat(signature_text.names(signatures), ", ")
    elseif mentions(message, ABOUT_ROWS) then
        return 'the outputs have no row for each instance; send {"inputs": ...} as application/json'
    end
    local name = signature_name()
    local signature = signatures[name]
    if not signature or mentions(message, IN_GRAPH) and not takes_numbers(signature) then return nil end
    return ("the signature %s takes %s"):format(name, signature_text.inputs(signature))
end

local function read(_, path) models.signatures(path) end

-- Reads the signatures of a model that is ready.
function M.prepare(path)
    if not models.known(path) then ngx.timer.at(0, read, path) end
end

-- The body of a 400, with its sentence first, and the hint if it has one. A client that sent a bare
-- image does not know the JSON that TensorFlow Serving's error would be about.
local function with_hint(body, request)
    local told = #body <= MOST and cjson.decode(body)
    local message = type(told) == "table" and tostring(told.error) or ""
    local sentence = graph_errors.sentence(message)
    if sentence ~= message then body = '{\n    "error": ' .. text.quoted(sentence) .. "\n}" end
    local about_name = mentions(message, ABOUT_SIGNATURES) or mentions(message, ABOUT_INPUTS)
    if not about_name and not mentions(message, ABOUT_ROWS) and not mentions(message, IN_GRAPH) then
        return body
    end
    local signatures = models.known(request.path)
    if about_name then ngx.timer.at(0, read, request.path) end -- a newer version may have others
    local is_image = request.format == "picture" or request.format == "builtin"
    if is_image and signatures and signatures.serving_default and mentions(message, ABOUT_INPUTS) then
        return '{"error":' .. text.quoted(M.no_image(signatures.serving_default)) .. "}"
    end
    local more = signatures and hint(message, signatures)
    return more and body:gsub("%s*}%s*$", function()
        return ',\n    "hint": ' .. text.quoted(more) .. "\n}"
    end) or body
end

-- The same, of a response that is not on its way yet.
function M.added(body, request)
    models.signatures(request.path)
    return with_hint(body, request)
end

-- Holds the body of a 400 back until it is complete.
function M.filter_header()
    if ngx.status == 400 and requests.current() then
        ngx.ctx.parts = {}
        ngx.header.content_length = nil -- not known yet
    end
end

function M.filter_body()
    local parts = ngx.ctx.parts
    if not parts then return end
    parts[#parts + 1] = ngx.arg[1]
    ngx.arg[1] = ngx.arg[2] and with_hint(table.concat(parts), requests.current()) or nil
end

return M
