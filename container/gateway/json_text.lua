-- Finds the end of JSON values without decoding them, so that text is cut and never written anew. A
-- text is where `p` points, and ends before `stop`.

local cjson = require "cjson.safe"
local ffi = require "ffi"

local M = {}
local QUOTE, BACKSLASH, COLON, COMMA = 34, 92, 58, 44
local STRING, OPEN, CLOSE, SPACE = 1, 2, 3, 4
local PAUSE_EVERY = 1000000 -- bytes, so that other requests are handled in between

local kinds = ffi.new "uint8_t[256]"
for kind, characters in pairs {[STRING] = '"', [OPEN] = "[{", [CLOSE] = "]}", [SPACE] = " \t\r\n"} do
    for i = 1, #characters do kinds[characters:byte(i)] = kind end
end

function M.of(text) return ffi.cast("const uint8_t *", text), #text end

function M.after_space(p, at, stop)
    while at < stop and kinds[p[at]] == SPACE do at = at + 1 end
    return at
end

function M.is_open(p, at, stop) return at < stop and kinds[p[at]] == OPEN end

-- Where the text begins, after a byte order mark and space.
function M.start(p, stop)
    return M.after_space(p, stop > 2 and p[0] == 239 and p[1] == 187 and p[2] == 191 and 3 or 0, stop)
end

-- The position after the string that begins here; nil if it has no end.
local function after_string(p, at, stop)
    at = at + 1
    while at < stop and p[at] ~= QUOTE do at = at + (p[at] == BACKSLASH and 2 or 1) end
    return at < stop and at + 1 or nil
end

-- The text of the string that begins here, and the position after it; nil if there is none.
function M.string(p, at, stop)
    local last = at < stop and p[at] == QUOTE and after_string(p, at, stop)
    if not last then return nil end
    local written = ffi.string(p + at, last - at)
    return written:find("\\", 1, true) and cjson.decode(written) or written:sub(2, -2), last
end

local function after_scalar(p, at, stop)
    local first = at
    while at < stop and kinds[p[at]] == 0 and p[at] ~= COMMA and p[at] ~= COLON do at = at + 1 end
    return at > first and at or nil
end

-- The position after the value at this position; nil if it has no end.
function M.after_value(p, at, stop)
    if at >= stop then return nil end
    local depth, pause = 0, at + PAUSE_EVERY
    if kinds[p[at]] == STRING then return after_string(p, at, stop) end
    if kinds[p[at]] ~= OPEN then return after_scalar(p, at, stop) end
    repeat
        local kind = kinds[p[at]]
        if kind == STRING then
            at = after_string(p, at, stop)
            if not at then return nil end
        else
            depth = kind == OPEN and depth + 1 or kind == CLOSE and depth - 1 or depth
            at = at + 1
        end
        if at > pause then
            ngx.sleep(0.001)
            pause = at + PAUSE_EVERY
        end
    until depth == 0 or at >= stop
    return depth == 0 and at or nil
end

-- Calls `visit` with each value of the object or list at this position: where it begins, and its
-- key if it is in an object. What `visit` returns ends it and is returned; otherwise it is true if
-- the object or list is well-formed.
function M.each(p, at, stop, visit)
    local is_object = p[at] == 123
    at = M.after_space(p, at + 1, stop)
    if at < stop and kinds[p[at]] == CLOSE then return true end
    while at < stop do
        local key
        if is_object then
            local last
            key, last = M.string(p, at, stop)
            local colon = last and M.after_space(p, last, stop)
            if not colon or colon >= stop or p[colon] ~= COLON then return nil end
            at = M.after_space(p, colon + 1, stop)
        end
        local result = visit(at, key)
        if result ~= nil then return result end
        at = M.after_value(p, at, stop)
        at = at and M.after_space(p, at, stop)
        if not at or at >= stop then return nil end
        if kinds[p[at]] == CLOSE then return true end
        if p[at] ~= COMMA then return nil end
        at = M.after_space(p, at + 1, stop)
    end
    return nil
end

return M
