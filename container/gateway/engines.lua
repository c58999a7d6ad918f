-- The model servers: which one is next, and requests that the gateway sends to them itself. The one
-- with the fewest requests is next; if it is not running, the others are tried.

local requests = require "gateway.requests"
local responses = require "gateway.responses"
local settings = require "settings"

local M = {all = {}}
local CONNECT_SECONDS = 5

for i, address in ipairs(settings.engines) do
    local host, port = address:match "^(.*):(%d+)$"
    M.all[i] = {address = address, host = host, port = tonumber(port), busy = 0}
end

-- The next one that has not been tried. Equal ones take turns.
local turn = 0
local function pick(tried)
    local best
    turn = turn + 1
    for i = 1, #M.all do
        local engine = M.all[(turn + i) % #M.all + 1]
        if not tried[engine] and (not best or engine.busy < best.busy) then
            best = engine
        end
    end
    return best
end

-- For a request that nginx proxies; called again if the model server cannot be reached.
function M.balance()
    local balancer = require "ngx.balancer"
    local request = requests.current()
    if not request.tried then
        request.tried = {}
        if #M.all > 1 then
            balancer.set_more_tries(#M.all - 1)
        end
    end
    M.done(request)
    local engine = pick(request.tried) or M.all[1]
    request.tried[engine] = true
    request.engine = engine
    engine.busy = engine.busy + 1
    balancer.set_current_peer(engine.host, engine.port)
    local left = math.max(0.001, request.deadline - ngx.now())
    balancer.set_timeouts(math.min(CONNECT_SECONDS, left), left, left)
end

function M.done(request)
    local engine = request.engine
    if engine then
        request.engine = nil
        engine.busy = engine.busy - 1
    end
end

local BROKEN_OFF = "the model server closed the connection in the middle of its response; check GET /ping"

-- A reply without a response of the model server.
local function missing(reason, broken_off)
    local status = reason == "timeout" and 504 or 502
    local why = status == 502 and broken_off and BROKEN_OFF or responses.sentence(status)
    return {status = status, why = why}
end

-- Sends a request and returns the reply: its status, and its body or the reason why there is none.
-- `body` is a list of strings, or a function that sends `length` bytes itself.
function M.exchange(engine, method, path, body, length, connect_seconds, seconds)
    local socket = ngx.socket.tcp()
    socket:settimeouts(1000 * connect_seconds, 1000 * seconds, 1000 * seconds)
    local connected, reason = socket:connect(engine.host, engine.port)
    if not connected then
        local reply = missing(reason)
        reply.unreached = true
        return reply
    end
    local head = {method, " ", path, " HTTP/1.1\r\nHost: engine\r\nContent-Type: application/json\r\n"}
    if body then
        head[#head + 1] = "Content-Length: " .. length .. "\r\n"
    end
    head[#head + 1] = "\r\n"
    local is_list = type(body) == "table"
    local sent = socket:send(is_list and {head, body} or head)
    if sent and body and not is_list then
        body(socket)
    end
    local line
    line, reason = socket:receive "*l"
    if not line then
        socket:close()
        return missing(reason)
    end
    local status, size = tonumber(line:match "^HTTP/1%.%d (%d%d%d)"), nil
    repeat
        line, reason = socket:receive "*l"
        size = line and line:lower():match "^content%-length:%s*(%d+)" or size
    until not line or line == ""
    local content
    if line then
        content, reason = socket:receive(size and tonumber(size) or "*a")
    end
    if not content then
        socket:close()
        return missing(reason, true)
    end
    if size then
        socket:setkeepalive(60000)
    else
        socket:close()
    end
    return {status = status, body = content}
end

-- A predict request, for a request that has a slot.
function M.predict(request, body, length)
    local tried = {}
    local reply
    local begin = ngx.now()
    repeat
        local engine = pick(tried)
        tried[engine] = true
        engine.busy = engine.busy + 1
        local left = math.max(0.001, request.deadline - ngx.now())
        reply = M.exchange(engine, "POST", request.path .. ":predict", body, length,
            math.min(CONNECT_SECONDS, left), left)
        engine.busy = engine.busy - 1
    until not reply.unreached or not pick(tried)
    request.engine_seconds = (request.engine_seconds or 0) + ngx.now() - begin
    return reply
end

return M
