-- What a model takes, as its metadata says.

local cjson = require "cjson.safe"
local engines = require "gateway.engines"
local settings = require "settings"

local M = {}
local known = {} -- by path

-- Whether the metadata is a detector's: it has the signature `detect`, or detection_boxes.
local function is_detector(text)
    local told = cjson.decode(text)
    for _, name in ipairs {"metadata", "signature_def", "signature_def"} do
        told = type(told) == "table" and told[name]
    end
    for name, signature in pairs(type(told) == "table" and told or {}) do
        local outputs = type(signature) == "table" and signature.outputs
        local detects = type(outputs) == "table" and outputs.detection_boxes
        if name == "detect" or detects then return true end
    end
    return false
end

-- Whether a string in JSON Lines is an image in base64: the model of the request is a detector. It is
-- asked once for its metadata; if it does not respond, the request itself will tell why.
function M.takes_images(request)
    if settings.strings ~= "auto" then return settings.strings == "images" end
    if known[request.path] == nil then
        local reply = engines.exchange(engines.all[1], request.path .. "/metadata", 5, 30)
        if reply.status == 200 then known[request.path] = is_detector(reply.body) end
    end
    return known[request.path]
end

return M
