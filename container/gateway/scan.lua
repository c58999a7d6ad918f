-- Finds the end of JSON values without decoding them, so that text is cut and never written anew.

local byte, find = string.byte, string.find

local M = {}
local QUOTE, BACKSLASH = 34, 92
local PAUSE_EVERY = 1000000 -- characters, so that other requests are handled in between

local function after_string(text, at)
    at = at + 1
    while true do
        at = find(text, '["\\]', at)
        if not at then
            return nil
        elseif byte(text, at) == QUOTE then
            return at + 1
        end
        at = at + 2
    end
end

function M.after_space(text, at) return find(text, "[^ \t\r\n]", at) or #text + 1 end

-- The position after the value at this position; nil if it has no end.
function M.after_value(text, at)
    local first = text:sub(at, at)
    if first == '"' then
        return after_string(text, at)
    elseif first ~= "[" and first ~= "{" then
        return find(text, "[,%]}%s]", at) or #text + 1
    end
    local depth, pause = 0, at + PAUSE_EVERY
    repeat
        at = find(text, '["%[%]{}]', at)
        local c = at and text:sub(at, at)
        if c == '"' then
            at = after_string(text, at)
        elseif at then
            depth = depth + ((c == "[" or c == "{") and 1 or -1)
            at = at + 1
        end
        if at and at > pause then
            ngx.sleep(0.001)
            pause = at + PAUSE_EVERY
        end
    until not at or depth == 0
    return at
end

-- Calls `visit` with each key, as it is written, and the position of its value, until it returns a
-- value.
function M.members(text, at, visit)
    at = M.after_space(text, at + 1)
    while byte(text, at) == QUOTE do
        local key_end = after_string(text, at)
        local colon = key_end and M.after_space(text, key_end)
        if not colon or text:sub(colon, colon) ~= ":" then
            return nil
        end
        local value = M.after_space(text, colon + 1)
        local result = visit(text:sub(at, key_end - 1), value)
        if result ~= nil then
            return result
        end
        at = M.after_value(text, value)
        at = at and M.after_space(text, at)
        if not at or text:sub(at, at) ~= "," then
            return nil
        end
        at = M.after_space(text, at + 1)
    end
end

-- The elements of the list at this position, as they are written; nil if it has no end.
function M.elements(text, at)
    local found = {}
    at = M.after_space(text, at + 1)
    while text:sub(at, at) ~= "]" do
        local after = M.after_value(text, at)
        if not after then
            return nil
        end
        found[#found + 1] = text:sub(at, after - 1)
        at = M.after_space(text, after)
        if text:sub(at, at) == "," then
            at = M.after_space(text, at + 1)
        elseif at > #text then
            return nil
        end
    end
    return found
end

return M
