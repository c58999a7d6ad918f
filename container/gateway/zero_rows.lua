-- With batching on, TensorFlow Serving holds a request without rows, {"inputs": []}, and its thread
-- until the timeout. Of a key that is given twice it uses the first one.

local cjson = require "cjson.safe"
local scan = require "gateway.scan"

-- Whether a predict request has no rows.
return function(text)
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
