-- The model servers: which one is next, and requests that the gateway sends to them itself. The one
-- with the fewest requests is next; if it is not running, the others are tried.

local balancer = require "ngx.balancer"
local requests = require "gateway.requests"
local responses = require "gateway.responses"
local settings = require "settings"

local M = {}
local CONNECT_SECONDS = 5
local BROKEN_OFF = "the model server closed the connection in the middle of its response; " ..
    "check GET /ping"

local function servers(addresses) -- HOST:PORT or unix:PATH
    local all = {}
    for i, address in ipairs(addresses) do
        local host, port = address:match "^(.*):(%d+)$"
        all[i] = {address = address, host = host or address, port = tonumber(port), busy = 0}
    end
    return all
end

M.all = servers(settings.engines)
M.receivers = settings.hooks[1] and servers(settings.hooks) or M.all -- of requests

-- The next one that has not been tried; nil if there is none. Equal ones take turns.
local turn = 0
local function pick(tried)
    local best
    turn = turn + 1
    for i = 1, #M.receivers do
        local engine = M.receivers[(turn + i) % #M.receivers + 1]
        if not tried[engine] and (not best or engine.busy < best.busy) then best = engine end
    end
    return best
end

function M.done(request)
    if request.engine then request.engine.busy, request.engine = request.engine.busy - 1, nil end
end

local function start(request, tried)
    M.done(request)
    local engine = pick(tried) or M.receivers[1]
    engine.busy, tried[engine] = engine.busy + 1, true
    return engine, math.max(0.001, request.deadline - ngx.now())
end

-- For a request that nginx proxies; called again if the model server cannot be reached.
function M.balance()
    local request, left = requests.current(), nil
    if not request.tried and #M.receivers > 1 then
        balancer.set_more_tries(#M.receivers - 1)
    end
    request.tried = request.tried or {}
    request.engine, left = start(request, request.tried)
    balancer.set_current_peer(request.engine.host, request.engine.port)
    balancer.set_timeouts(math.min(CONNECT_SECONDS, left), left, left)
end

local function receive(socket)
    local line, reason = socket:receive "*l"
    local status, length, body = line and tonumber(line:match "^HTTP/1%.%d (%d%d%d)"), nil, nil
    while status and line and line ~= "" do
        line, reason = socket:receive "*l"
        length = line and tonumber(line:lower():match "^content%-length:%s*(%d+)") or length
    end
    if line == "" then body, reason = socket:receive(length or "*a") end
    if body and length then socket:setkeepalive(60000) else socket:close() end
    return status, body, reason
end

-- Sends a request and returns the reply: a status, and a body or the reason why there is none.
-- `body` is a list of strings or a function that sends them, `length` bytes together.
function M.exchange(engine, path, connect_seconds, seconds, body, length)
    local socket = ngx.socket.tcp()
    socket:settimeouts(1000 * connect_seconds, 1000 * seconds, 1000 * seconds)
    local connected, reason = socket:connect(engine.host, unpack {engine.port})
    local status, content
    if connected then
        local is_list = type(body) == "table"
        socket:send {body and "POST " or "GET ", path, " HTTP/1.1\r\nHost: engine\r\n", body and
            "Content-Type: application/json\r\nContent-Length: " .. length .. "\r\n" or "",
            "\r\n", is_list and body or ""}
        if body and not is_list then body(socket) end
        status, content, reason = receive(socket)
    end
    if content then return {status = status, body = content} end
    local failed = reason == "timeout" and 504 or 502
    return {status = failed, unreached = not connected,
        why = status and failed == 502 and BROKEN_OFF or responses.sentence(failed)}
end

-- TensorFlow Serving's status for this is 429. At 507 SageMaker unloads other models.
local function is_out_of_memory(status) return status == 429 and settings.multi_model end

function M.filter_status()
    if is_out_of_memory(ngx.status) then ngx.status = 507 end
end

-- A predict request, for a request that has a slot.
function M.predict(request, body, length)
    local tried, begin, reply = {}, ngx.now(), nil
    repeat
        local engine, left = start(request, tried)
        reply = M.exchange(engine, request.path .. ":predict", math.min(CONNECT_SECONDS, left), left,
            body, length)
        engine.busy = engine.busy - 1
    until not reply.unreached or not pick(tried)
    request.engine_seconds = (request.engine_seconds or 0) + ngx.now() - begin
    if is_out_of_memory(reply.status) then reply.status = 507 end
    return reply
end

return M
