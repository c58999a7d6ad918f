-- GET /execution-parameters: what Batch Transform may send.

local responses = require "gateway.responses"
local settings = require "settings"

local M = {}

function M.respond()
    responses.require_method "GET"
    return responses.send(200, "application/json",
        ('{"MaxConcurrentTransforms": %d, "BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": %d}'):format(
            settings.concurrent_transforms, settings.payload_megabytes))
end

return M
