-- Finds the end of JSON values without decoding them, so that text is cut and never written anew.

local byte, find, sub = string.byte, string.find, string.sub

local M = {}
local QUOTE = 34
local PAUSE_EVERY = 1000000 -- characters, so that other requests are handled in between

local function after_string(text, at)
    at = find(text, '["\\]', at + 1)
    while at and byte(text, at) ~= QUOTE do at = find(text, '["\\]', at + 2) end
    return at and at + 1
end

function M.after_space(text, at) return find(text, "[^ \t\r\n]", at) or #text + 1 end

-- The position after the value at this position; nil if it has no end.
local function after_value(text, at)
    local depth, pause = 0, at + PAUSE_EVERY
    if find(text, '^[^"%[{]', at) then return find(text, "[,%]}%s]", at) or #text + 1 end
    repeat
        at = find(text, '["%[%]{}]', at)
        if at and byte(text, at) == QUOTE then
            at = after_string(text, at)
        elseif at then
            depth = depth + (find(text, "^[%[{]", at) and 1 or -1)
            at = at + 1
        end
        if at and at > pause then
            ngx.sleep(0.001)
            pause = at + PAUSE_EVERY
        end
    until not at or depth == 0
    return at
end

-- Calls `visit` with each value of the object or list at this position: where it begins, and its key
-- as it is written, or where it ends if it is in a list. What `visit` returns for a key ends it and is
-- returned; otherwise it is true if the object or list is well-formed.
function M.each(text, at, visit)
    local is_object = sub(text, at, at) == "{"
    at = M.after_space(text, at + 1)
    if find(text, "^[%]}]", at) then return true end
    while true do
        local key
        if is_object then
            local stop = byte(text, at) == QUOTE and after_string(text, at)
            local colon = stop and M.after_space(text, stop)
            if not colon or sub(text, colon, colon) ~= ":" then return nil end
            key, at = sub(text, at, stop - 1), M.after_space(text, colon + 1)
        end
        local result = key and visit(at, key)
        if result ~= nil then return result end
        local stop = after_value(text, at)
        if not stop then return nil end
        if not key then visit(at, stop - 1) end
        at = M.after_space(text, stop)
        if find(text, "^[%]}]", at) then return true end
        if sub(text, at, at) ~= "," then return nil end
        at = M.after_space(text, at + 1)
    end
end

return M
