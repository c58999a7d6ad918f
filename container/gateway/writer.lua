-- A long text that is written piece by piece: bytes are set in `out` at `n`, and flushed to the
-- list `parts` of Lua strings when the buffer is full. With `pauses`, other requests are handled in
-- between.

local ffi = require "ffi"

local Writer = {CAPACITY = 131072, FULL = 65536} -- bytes: whoever checks FULL has room for as many more
Writer.__index = Writer
local QUOTE, BACKSLASH = 34, 92
local PAUSE_EVERY = 500000 -- bytes

function Writer.new(class)
    return setmetatable({out = ffi.new("uint8_t[?]", Writer.CAPACITY), n = 0, parts = {}, bytes = 0,
        pause_at = PAUSE_EVERY}, class or Writer)
end

-- Flushes what is before `n`, which is self.n unless it is given; returns the next `n`.
function Writer:flush(n)
    self.n = n or self.n
    self.parts[#self.parts + 1] = ffi.string(self.out, self.n)
    self.bytes, self.n = self.bytes + self.n, 0
    if self.pauses and self.bytes > self.pause_at then
        ngx.sleep(0.001)
        self.pause_at = self.bytes + PAUSE_EVERY
    end
    return 0
end

function Writer:make_room() if self.n >= self.FULL then self:flush() end end

function Writer:write(text)
    if self.n + #text > self.CAPACITY then self:flush() end
    if #text > self.CAPACITY then
        self.parts[#self.parts + 1], self.bytes = text, self.bytes + #text
        return
    end
    ffi.copy(self.out + self.n, text, #text)
    self.n = self.n + #text
end

-- Writes bytes as a JSON string; with `is_doubled` two quotes are one.
function Writer:write_string(p, first, last, is_doubled)
    self:make_room()
    local out, n, at = self.out, self.n, first
    out[n], n = QUOTE, n + 1
    while at < last do
        local c = p[at]
        at = at + 1
        if c == QUOTE or c == BACKSLASH then
            out[n], n = BACKSLASH, n + 1
            if c == QUOTE and is_doubled then at = at + 1 end
        end
        if c < 32 then
            self.n = n
            self:write(("\\u%04x"):format(c))
            n = self.n
        else
            out[n], n = c, n + 1
        end
        if n >= self.FULL then n = self:flush(n) end
    end
    out[n], self.n = QUOTE, n + 1
end

-- All that was written, as a list of strings, and their size.
function Writer:finish()
    self:flush()
    return self.parts, self.bytes
end

return Writer
