-- The body of a request: read into memory, and found there, because as a Lua string 25 MB take 40
-- ms in which nothing else runs.

local base = require "resty.core.base"
local ffi = require "ffi"

local M = {}
local LARGE = 2 ^ 20 -- bytes
local PIECE = 65536
local PAUSE_EVERY = 16 -- pieces, so that other requests are handled in between
local SECONDS = 20 -- between two reads, as client_body_timeout
local COPIED = 49152 -- bytes: a multiple of 3, and short of the strings that LuaJIT maps one by one

-- As one buffer. nginx itself keeps the bytes that came with the headers apart from the rest, and
-- copies both when they are used: 25 MB take 40 ms in which nothing else runs.
function M.read(length)
    local socket = length and length > LARGE and ngx.req.socket()
    if not socket then return ngx.req.read_body() end
    socket:settimeout(1000 * SECONDS)
    ngx.req.init_body(length)
    for at = 0, length - 1, PIECE do
        local piece, reason = socket:receive(math.min(PIECE, length - at))
        if not piece then return ngx.exit(reason == "timeout" and 408 or 499) end
        ngx.req.append_body(piece)
        if at % (PAUSE_EVERY * PIECE) == 0 then ngx.sleep(0.001) end
    end
    return ngx.req.finish_body()
end

-- Where nginx has it, and its size; nil if it is empty.
local value, size = ffi.new "char *[1]", ffi.new "size_t[1]"
function M.find()
    local name, buffer = "request_body", ffi.new "char[12]"
    local found = ffi.C.ngx_http_lua_ffi_var_get(base.get_request(), name, #name, buffer, 0, value,
        size, base.get_errmsg_ptr()) == 0
    return found and size[0] > 0 and {at = ffi.cast("const uint8_t *", value[0]),
        size = tonumber(size[0])} or nil
end

-- Calls `send` with each piece from this position on, as a Lua string.
function M.each_piece(body, first, send)
    for at = first, body.size - 1, COPIED do
        send(ffi.string(body.at + at, math.min(COPIED, body.size - at)))
        if at > first and (at - first) % (20 * COPIED) == 0 then ngx.sleep(0.001) end -- not 0
    end
end

return M
