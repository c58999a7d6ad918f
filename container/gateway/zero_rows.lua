-- With batching on, TensorFlow Serving holds a request without rows, {"inputs": []}, and its thread
-- until the timeout. Of a key that is given twice it uses the first one.

local cjson = require "cjson.safe"
local scan = require "gateway.scan"

local function is_empty_list(text, at) return text:find("^%[%s*%]", at) ~= nil end

-- Whether a predict request has no rows.
return function(text)
    local start = scan.after_space(text, text:sub(1, 3) == "\239\187\191" and 4 or 1)
    if text:sub(start, start) ~= "{" then
        return false
    end
    return scan.members(text, start, function(key, value)
        key = cjson.decode(key)
        if key == "instances" then
            return false -- checked by TensorFlow Serving
        elseif key ~= "inputs" then
            return nil
        elseif text:sub(value, value) ~= "{" then
            return is_empty_list(text, value)
        end
        return scan.members(text, value, function(_, input)
            return is_empty_list(text, input) or nil
        end) or false
    end) or false
end
