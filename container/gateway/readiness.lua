-- What the platform asks about the container. /ping requests the status of every model from every
-- model server, outside of their slots.

local cjson = require "cjson.safe"
local engines = require "gateway.engines"
local hints = require "gateway.hints"
local hooks = require "gateway.hooks"
local requests = require "gateway.requests"
local responses = require "gateway.responses"
local settings = require "settings"

local M = {}
local CONNECT_SECONDS, READ_SECONDS = 0.5, 1 -- so that /ping responds within 2 s
local IDLE_SECONDS = 2 -- without requests, so that clients have heard of the stop

-- The supervisor creates this file when it stops.
function M.is_stopping()
    local file = io.open(ngx.config.prefix() .. "stopping")
    return file and file:close()
end

-- Why a model is not ready; nil if it is. The model server responds as soon as one version is ready,
-- with an older one while the newest loads. A version in state END without an error was unloaded on
-- purpose.
local function not_ready(reply)
    if reply.status == 502 then
        return "the model server is not running, or still loading; see its log"
    elseif reply.status ~= 200 then
        return ("the model server does not respond (%d)"):format(reply.status)
    end
    local told = cjson.decode(reply.body)
    local versions = type(told) == "table" and told.model_version_status
    if type(versions) ~= "table" then return "the model server returned no model status" end
    local states, is = {}, {}
    for i, version in ipairs(versions) do
        local status = version.status
        if version.state == "END" and status and status.error_code ~= "OK" then
            return ("version %s cannot be loaded: %s"):format(version.version, status.error_message)
        end
        states[i], is[version.state] = version.state, true
    end
    if not is.AVAILABLE or is.START or is.LOADING then
        return "the model is not ready: " .. table.concat(states, ", ")
    end
end

-- Each model at each model server: whether that responds, and why the model is not ready. A multi-model
-- endpoint is ready without a model, so there it is one entry for each model server.
function M.states()
    local threads, states = {}, {}
    for _, engine in ipairs(engines.all) do
        for _, name in ipairs(settings.multi_model and {""} or settings.models) do
            threads[#threads + 1] = ngx.thread.spawn(function()
                local reply = engines.exchange(engine, "/v1/models/" .. name, CONNECT_SECONDS,
                    READ_SECONDS)
                local why = not (settings.multi_model and reply.body) and not_ready(reply) or nil
                return {engine = engine.address, name = name, responds = reply.body ~= nil, why = why}
            end)
        end
    end
    for i, thread in ipairs(threads) do states[i] = select(2, assert(ngx.thread.wait(thread))) end
    return states
end

function M.ping()
    responses.require_method "GET, HEAD"
    if M.is_stopping() then
        return responses.fail(503, "the container is stopping; requests in flight are being completed")
    end
    local states = M.states()
    for _, one in ipairs(states) do
        if one.why then
            local which = #states > 1 and one.engine .. ", " .. one.name .. ": " or ""
            return responses.fail(503, which .. one.why)
        end
    end
    for _, process in ipairs(hooks.states()) do
        if not process.up then return responses.fail(503, process.why) end
    end
    for _, name in ipairs(settings.models) do hints.prepare("/v1/models/" .. name) end
    return ngx.exit(ngx.HTTP_OK)
end

function M.execution_parameters()
    responses.require_method "GET"
    return responses.send(200, "application/json", ('{"MaxConcurrentTransforms": %d, ' ..
        '"BatchStrategy": "SINGLE_RECORD", "MaxPayloadInMB": %d}'):format(
        settings.concurrent_transforms, settings.payload_megabytes))
end

-- While the container stops: reports to the supervisor, by a word in its file `drained`, that for some
-- time no request but pings and scrapes has been there.
function M.watch()
    local drained = M.is_stopping() and requests.seconds_idle() >= IDLE_SECONDS and
        io.open(ngx.config.prefix() .. "drained", "w")
    if drained then
        drained:write "drained\n"
        drained:close()
    end
end

return M
