-- TensorFlow Serving's own JSON, sent on unchanged.

local admission = require "gateway.admission"
local cjson = require "cjson.safe"
local inflate = require "gateway.inflate"
local responses = require "gateway.responses"
local scan = require "gateway.scan"
local settings = require "settings"

-- With batching on, TensorFlow Serving holds a request without rows, {"inputs": []}, and its thread
-- until the timeout. Of a key that is given twice it uses the first one.
local function has_no_rows(text)
    local function if_empty(at) return text:find("^%[%s*%]", at) and "empty" or nil end
    local start = scan.after_space(text, text:find "^\239\187\191" and 4 or 1)
    local found = text:find("^{", start) and scan.each(text, start, function(at, key)
        key = cjson.decode(key)
        if key == "instances" then return "checked by TensorFlow Serving" end
        if key ~= "inputs" then return nil end
        return text:find("^{", at) and scan.each(text, at, if_empty) or if_empty(at) or "rows"
    end)
    return found == "empty"
end

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
