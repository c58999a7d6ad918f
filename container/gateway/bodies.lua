-- Reads the body of a request into memory.

local M = {}
local LARGE = 2 ^ 20 -- bytes
local PIECE = 65536
local PAUSE_EVERY = 16 -- pieces, so that other requests are handled in between
local SECONDS = 20 -- between two reads, as client_body_timeout

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

return M
