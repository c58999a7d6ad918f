-- What a model takes, as its metadata says.

local cjson = require "cjson.safe"
local engines = require "gateway.engines"
local settings = require "settings"

local M = {}
local CONNECT_SECONDS, READ_SECONDS = 5, 30
local known = {} -- by path

-- Whether the metadata is a detector's: it has the signature `detect`, or detection_boxes.
local function is_detector(text)
    local told = cjson.decode(text)
    local metadata = type(told) == "table" and told.metadata
    local signatures = type(metadata) == "table" and metadata.signature_def
    signatures = type(signatures) == "table" and signatures.signature_def
    for name, signature in pairs(type(signatures) == "table" and signatures or {}) do
        local outputs = type(signature) == "table" and signature.outputs
        if name == "detect" or type(outputs) == "table" and outputs.detection_boxes then
            return true
        end
    end
    return false
end

-- Whether a string in JSON Lines is an image in base64: the model of the request is a detector. It is
-- asked once for its metadata.
function M.takes_images(request)
    if settings.strings ~= "auto" then
        return settings.strings == "images"
    end
    if known[request.path] == nil then
        local reply = engines.exchange(engines.all[1], "GET", request.path .. "/metadata", nil, 0,
            CONNECT_SECONDS, READ_SECONDS)
        if reply.status ~= 200 then
            return false -- and a request will tell why
        end
        known[request.path] = is_detector(reply.body)
    end
    return known[request.path]
end

return M
