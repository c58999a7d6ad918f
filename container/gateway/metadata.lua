-- GET /metadata: the signatures of a model as JSON, with an example for each input.

local examples = require "gateway.examples"
local models = require "gateway.models"
local read_attributes = require "gateway.attributes"
local responses = require "gateway.responses"
local settings = require "settings"
local signature_text = require "gateway.signature_text"
local text = require "gateway.text"

local M = {}

-- A JSON object whose keys are in order.
local function object(map, write)
    local parts = signature_text.names(map)
    for i, name in ipairs(parts) do parts[i] = text.quoted(name) .. ": " .. write(map[name], name) end
    return "{" .. table.concat(parts, ", ") .. "}"
end

local function tensor(one, example)
    return ('{"dtype": "%s", "shape": %s%s}'):format(signature_text.dtype(one),
        one.shape and signature_text.shape(one.shape, "null") or "null",
        example and ', "example": ' .. example or "")
end

local function written(signature)
    return ('{"method": %s, "inputs": %s, "outputs": %s}'):format(text.quoted(signature.method),
        object(signature.inputs, function(one, name)
            return tensor(one, examples.input(signature, name))
        end),
        object(signature.outputs, function(one) return tensor(one) end))
end

function M.respond()
    if not settings.metadata then
        return responses.fail(404, "/metadata: disabled; PETBOX_METADATA=true enables it")
    end
    responses.require_method "GET, HEAD"
    local _, path = read_attributes()
    local signatures, reply = models.signatures(path)
    if not signatures then
        if reply.why then return responses.fail(reply.status, reply.why) end
        return responses.send(reply.status, "application/json", reply.body)
    end
    local names = {}
    for i, name in ipairs(settings.models) do names[i] = text.quoted(name) end
    return responses.send(200, "application/json",
        ('{"model": %s, "models": [%s], "signatures": %s}\n'):format(
            text.quoted(path:match "^/v1/models/([^/]+)"), table.concat(names, ", "),
            object(signatures, written)))
end

return M
