-- Bare JSON, which AWS's container takes for TensorFlow Serving's predict request: the value of one
-- instance, or a list of lists or objects, one for each instance.

local json_text = require "gateway.json_text"

local OWN = {instances = true, inputs = true, examples = true, signature_name = true}
local SCALARS = '^[-"%dtfN]'

-- What TensorFlow Serving's request has before and after it, and where it begins. nil for
-- TensorFlow Serving's own request, and for a text that is not JSON, which TensorFlow Serving
-- rejects.
return function(p, stop)
    local at = json_text.start(p, stop)
    if at == stop then return nil end
    local first, is_several = string.char(p[at]), false
    if first == "{" then
        local inner = json_text.after_space(p, at + 1, stop)
        if inner == stop or p[inner] ~= 34 then return nil end -- also {}
        local function if_own(_, key) return OWN[key] and "own" or nil end
        if json_text.each(p, at, stop, if_own) ~= true then return nil end
    elseif first == "[" then
        is_several = json_text.is_open(p, json_text.after_space(p, at + 1, stop), stop)
    elseif not first:find(SCALARS) then
        return nil
    end
    local last = json_text.after_value(p, at, stop)
    if not last or json_text.after_space(p, last, stop) < stop then return nil end
    return is_several and '{"instances":' or '{"instances":[', is_several and "}" or "]}", at
end
