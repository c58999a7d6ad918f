-- What the gateway knows about each open invocation. Unlike ngx.ctx it outlives internal redirects.

local M = {}
local open, newest = {}, 0

function M.begin()
    newest = newest + 1
    ngx.var.request_number = newest
    open[newest] = {
        slots = 0, -- that it has at the moment
        bytes = 0, -- reserved for its body
        waited = 0, -- seconds in the queue
        engine_seconds = nil, -- at the model server, if not proxied by nginx
        engine = nil, -- the model server it is at
    }
    return open[newest]
end

-- The request's entry; nil if it is no invocation, or was rejected before its first line of Lua.
function M.current() return open[tonumber(ngx.var.request_number or "")] end

function M.forget() open[tonumber(ngx.var.request_number or "") or 0] = nil end

return M
