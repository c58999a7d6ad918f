-- TensorFlow Serving's own JSON, sent on unchanged.

local admission = require "gateway.admission"
local has_no_rows = require "gateway.zero_rows"
local inflate = require "gateway.inflate"
local responses = require "gateway.responses"
local settings = require "settings"

return function(request)
    local is_packed = ngx.var.engine_coding == "gzip"
    if is_packed or settings.batching then
        local text = ngx.req.get_body_data() or ""
        if is_packed then text = inflate(text, settings.body_megabytes * 2 ^ 20) end
        if not text then return responses.fail(413) end
        if settings.batching and has_no_rows(text) then
            return responses.fail(400, '"inputs" has no rows; send at least one')
        end
    end
    admission.enter_or_fail(request)
    return ngx.exec "/engine"
end
