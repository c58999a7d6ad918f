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

function M.queued() return math.max(0, -slots:count()) + 0 end -- never -0; who has left does not count

-- Reserves the memory for a body and its copies before it is read. One is always let through.
function M.reserve(request, bytes)
    if M.held_bytes > 0 and M.held_bytes + bytes > BUDGET then
        request.rejected = "memory"
        return responses.fail(503, "too many requests with large bodies at once; retry in " ..
            responses.RETRY_AFTER .. " s")
    end
    M.held_bytes = M.held_bytes + bytes
    request.bytes = bytes
end

-- Waits for a slot, in order of arrival; false if there was none in time.
function M.enter(request)
    local begin = ngx.now()
    local seconds = math.min(settings.wait_seconds, settings.engine_seconds)
    request.rejected = "client_left" -- if it does not come back from here
    local entered = slots:wait(seconds)
    request.waited = request.waited + ngx.now() - begin
    request.deadline = begin + settings.engine_seconds
    request.rejected = not entered and "no_slot" or nil
    if entered then
        M.in_use = M.in_use + 1
        request.slots = request.slots + 1
    end
    return entered
end

-- The same; the request fails without a slot.
function M.enter_or_fail(request)
    if not M.enter(request) then
        return responses.fail(503, M.busy())
    end
end

function M.busy()
    return ("the model is busy: no free slot within %s s; retry in %d s, or add instances"):format(
        settings.wait_seconds, responses.RETRY_AFTER)
end

function M.leave(request)
    if request.slots > 0 then
        request.slots = request.slots - 1
        M.in_use = M.in_use - 1
        slots:post(1)
    end
end

-- The last part of a response has come from the model server, however slowly the client reads it.
function M.free_slot_at_end()
    local request = ngx.arg[2] and requests.current()
    if request then
        engines.done(request)
        M.leave(request)
    end
end

-- When a request is over, whatever its end was.
function M.finish(request)
    engines.done(request)
    while request.slots > 0 do
        M.leave(request)
    end
    M.held_bytes = M.held_bytes - request.bytes
    request.bytes = 0
end

return M
