-- GET /ping, and what the supervisor learns when it stops. /ping requests the status of every model from every model server, outside of their slots.

local cjson = require "cjson.safe"
local engines = require "gateway.engines"
local requests = require "gateway.requests"
local responses = require "gateway.responses"
local settings = require "settings"

local M = {}
local CONNECT_SECONDS, READ_SECONDS = 0.5, 1 -- so that the response comes within 2 s
local IDLE_SECONDS = 2 -- without requests, so that clients have heard of it
local STOPPING = "the container is stopping; requests in flight are being completed"

-- The supervisor creates this file when it stops.
function M.is_stopping()
    local file = io.open(ngx.config.prefix() .. "stopping")
    return file and file:close()
end

-- Why a model is not ready; nil if it is. The model server responds as soon as one version is ready,
-- with an older one while the newest loads. A version in state END without an error was unloaded on
-- purpose.
local function missing(versions)
    local states, available, loading = {}, false, false
    for i, version in ipairs(versions) do
        local status = version.status
        if version.state == "END" and status and status.error_code ~= "OK" then
            return ("version %s cannot be loaded: %s"):format(version.version, status.error_message)
        end
        states[i] = version.state
        available = available or version.state == "AVAILABLE"
        loading = loading or version.state == "START" or version.state == "LOADING"
    end
    if not available or loading then
        return "the model is not ready: " .. table.concat(states, ", ")
    end
end

local function not_ready(reply)
    if reply.status == 502 then
        return "the model server is not running, or still loading; see its log"
    end
    if reply.status ~= 200 then
        return ("the model server does not respond (%d)"):format(reply.status)
    end
    local told = cjson.decode(reply.body)
    local versions = type(told) == "table" and told.model_version_status
    if type(versions) ~= "table" then
        return "the model server returned no model status"
    end
    return missing(versions)
end

local function state(engine, name)
    local reply = engines.exchange(engine, "GET", "/v1/models/" .. name, nil, 0, CONNECT_SECONDS,
        READ_SECONDS)
    return {engine = engine, name = name, why = not_ready(reply), responds = reply.body ~= nil}
end

-- Each model at each model server: whether that responds, and why the model is not ready.
function M.states()
    local threads, states = {}, {}
    for _, engine in ipairs(engines.all) do
        for _, name in ipairs(settings.models) do
            threads[#threads + 1] = ngx.thread.spawn(state, engine, name)
        end
    end
    for i, thread in ipairs(threads) do
        local _, one = ngx.thread.wait(thread)
        states[i] = one
    end
    return states
end

function M.ping()
    responses.require_method("GET", "HEAD")
    if M.is_stopping() then
        return responses.fail(503, STOPPING)
    end
    local states = M.states()
    for _, one in ipairs(states) do
        if one.why then
            local which = #states > 1 and one.engine.address .. ", " .. one.name .. ": " or ""
            return responses.fail(503, which .. one.why)
        end
    end
    return ngx.exit(ngx.HTTP_OK)
end

-- While the container stops: reports to the supervisor, by a word in its file `drained`, that for some
-- time no request but pings and scrapes has been there.
function M.watch()
    if M.is_stopping() and requests.seconds_idle() >= IDLE_SECONDS then
        local file = io.open(ngx.config.prefix() .. "drained", "w")
        if file then
            file:write "drained\n"
            file:close()
        end
    end
end

return M
