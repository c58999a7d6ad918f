-- GET /ping: requests the status of every model from every model server, outside of their slots.

local cjson = require "cjson.safe"
local engines = require "gateway.engines"
local responses = require "gateway.responses"
local settings = require "settings"

local M = {}
local CONNECT_SECONDS, READ_SECONDS = 0.5, 1 -- so that the response comes within 2 s
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

function M.not_ready(engine, model)
    local reply = engines.exchange(engine, "GET", "/v1/models/" .. model, nil, 0, CONNECT_SECONDS,
        READ_SECONDS)
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

function M.ping()
    responses.require_method("GET", "HEAD")
    if M.is_stopping() then
        return responses.fail(503, STOPPING)
    end
    local threads, names = {}, {}
    for _, engine in ipairs(engines.all) do
        for _, model in ipairs(settings.models) do
            threads[#threads + 1] = ngx.thread.spawn(M.not_ready, engine, model)
            names[#threads] = engine.address .. ", " .. model .. ": "
        end
    end
    for i, thread in ipairs(threads) do
        local _, why = ngx.thread.wait(thread)
        if why then
            return responses.fail(503, (#threads > 1 and names[i] or "") .. why)
        end
    end
    return ngx.exit(ngx.HTTP_OK)
end

return M
