-- What the gateway knows about each open invocation. Unlike ngx.ctx it outlives internal redirects.

local M = {}
local open, newest, count, last = {}, 0, 0, ngx.now()

-- W3C Trace Context: the id of the request's trace; nil if its traceparent is missing or malformed.
local function trace_id()
    local header = ngx.var.http_traceparent
    if not header then return nil end
    local version, trace, parent, rest = header:match "^(%x%x)%-(%x+)%-(%x+)%-%x%x(.*)$"
    local is_valid = version and version ~= "ff" and #trace == 32 and #parent == 16 and
        not header:find "%u" and trace:find "[^0]" and parent:find "[^0]" and
        (rest == "" or version ~= "00" and rest:sub(1, 1) == "-")
    return is_valid and trace or nil
end

function M.begin()
    newest, count = newest + 1, count + 1
    ngx.var.request_number = newest
    -- its slots, the bytes reserved for its body, and the seconds it has queued
    open[newest] = {number = newest, slots = 0, bytes = 0, waited = 0, trace_id = trace_id()}
    return open[newest]
end

function M.current() return open[tonumber(ngx.var.request_number or "")] end -- nil if it is none

-- When a request is over, of any kind but pings and scrapes.
function M.finish(request)
    last = ngx.now()
    if request then
        count = count - 1
        if request.model then request.model.busy = request.model.busy - 1 end
        open[request.number] = nil
    end
end

-- How long there has been none.
function M.seconds_idle() return count > 0 and 0 or ngx.now() - last end

return M
