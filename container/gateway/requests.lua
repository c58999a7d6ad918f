-- What the gateway knows about each open invocation. Unlike ngx.ctx it outlives internal redirects.

local M = {}
local open, newest, count, last = {}, 0, 0, ngx.now()

function M.begin()
    newest, count = newest + 1, count + 1
    ngx.var.request_number = newest
    open[newest] = {
        number = newest,
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

-- When a request is over, of any kind but pings and scrapes.
function M.finish(request)
    last = ngx.now()
    if request then
        count = count - 1
        open[request.number] = nil
    end
end

-- How long there has been none.
function M.seconds_idle() return count > 0 and 0 or ngx.now() - last end

return M
