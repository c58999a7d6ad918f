-- Who may use a model server: a request queues for a slot in order of arrival, keeps it until the
-- model server is done with it, and is forgotten if its client leaves the queue.

local engines = require "gateway.engines"
local requests = require "gateway.requests"
local responses = require "gateway.responses"
local semaphore = require "ngx.semaphore"
local settings = require "settings"

local M = {in_use = 0, held_bytes = 0}
local slots

-- The bodies of all requests may take a quarter of the memory; the model needs most of it.
local BUDGET = settings.memory_bytes > 0 and settings.memory_bytes / 4 or math.huge

-- For each worker: a semaphore of the master would not survive a reload.
function M.start() slots = semaphore.new(settings.slots) end

-- Who has left does not count; 0 is added because -0 would be printed as such.
function M.queued() return math.max(0, -slots:count()) + 0 end

-- Reserves the memory for a body and its copies before it is read. One is always let through.
function M.reserve(request, bytes)
    if M.held_bytes > 0 and M.held_bytes + bytes > BUDGET then
        request.rejected = "memory"
        return responses.fail(503, "too many requests with large bodies at once; retry in " ..
            responses.RETRY_AFTER .. " s")
    end
    M.held_bytes, request.bytes = M.held_bytes + bytes, bytes
end

-- Waits for a slot; false if there was none in time.
function M.enter(request)
    local begin = ngx.now()
    request.rejected = "client_left" -- if it does not come back from here
    local entered = slots:wait(math.min(settings.wait_seconds, settings.engine_seconds))
    request.rejected = not entered and "no_slot" or nil
    request.waited = request.waited + ngx.now() - begin
    request.deadline = begin + settings.engine_seconds
    if entered then M.in_use, request.slots = M.in_use + 1, request.slots + 1 end
    return entered
end

function M.busy()
    return ("the model is busy: no free slot within %s s; retry in %d s, or add instances"):format(
        settings.wait_seconds, responses.RETRY_AFTER)
end

-- The same; the request fails without a slot.
function M.enter_or_fail(request) return M.enter(request) or responses.fail(503, M.busy()) end

function M.leave(request)
    if request.slots > 0 then
        M.in_use, request.slots = M.in_use - 1, request.slots - 1
        slots:post(1)
    end
end

-- When the model server is done with a proxied request: the last part of its response has come,
-- however slowly the client reads it, or the request is over.
function M.finish(request)
    engines.done(request)
    while request.slots > 0 do M.leave(request) end
end

function M.filter_body()
    local request = ngx.arg[2] and requests.current()
    if request then M.finish(request) end
end

function M.free_memory(request) M.held_bytes, request.bytes = M.held_bytes - request.bytes, 0 end

return M
