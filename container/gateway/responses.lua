-- Responses of the gateway itself. Errors are always JSON with a message that says what to do.

local settings = require "settings"
local text = require "gateway.text"

local M = {}
M.RETRY_AFTER = 1 -- seconds
local ROUTES = "POST /invocations, GET /ping, GET /execution-parameters"
local CONDITIONS = {"If-Match", "If-None-Match", "If-Unmodified-Since"}
local CONDITIONAL = "If-Match, If-None-Match, If-Unmodified-Since: responses have no version to " ..
    "compare; remove the header"

function M.send(status, kind, body)
    for _, name in ipairs(CONDITIONS) do
        ngx.req.clear_header(name) -- nginx would turn a 200 into a 412 inside ngx.print, and crash
    end
    ngx.status = status
    ngx.header.content_type = kind
    local length = 0
    for _, part in ipairs(type(body) == "table" and body or {body}) do
        length = length + #part
    end
    ngx.header.content_length = length
    ngx.print(body)
    return ngx.exit(ngx.HTTP_OK)
end

function M.fail(status, why)
    ngx.var.why = why -- for the log
    if status == 503 then
        ngx.header["Retry-After"] = M.RETRY_AFTER
    end
    return M.send(status, "application/json", '{"error":' .. text.quoted(why) .. "}")
end

-- Rejects other methods and conditional requests, also those with an empty condition.
function M.require_method(...)
    local method, allowed = ngx.req.get_method(), table.concat({...}, ", ")
    if method ~= (...) and method ~= select(2, ...) then
        ngx.header.allow = allowed
        return M.fail(405, M.sentence(405, allowed))
    end
    for _, name in ipairs {"http_if_match", "http_if_none_match", "http_if_unmodified_since"} do
        if ngx.var[name] then
            return M.fail(412, CONDITIONAL)
        end
    end
end

function M.path() return (ngx.var.request_uri or ""):match "^[^?]*" end

local SENTENCES = {
    [400] = function() return "malformed HTTP/1.1; check the request line and headers" end,
    [404] = function() return ("%s: no such route; use %s"):format(M.path(), ROUTES) end,
    [405] = function(allowed) return ("%s: method not allowed; use %s"):format(M.path(), allowed) end,
    [412] = function() return CONDITIONAL end,
    [413] = function()
        return ("the body is larger than %s MB; send a smaller image, or fewer per request"):format(
            settings.body_megabytes)
    end,
    [414] = function() return "the URL is longer than 8 kB; send the data in the body" end,
    [431] = function() return "a header is over 8 kB, or all headers together are over 32 kB; send less" end,
    [501] = function() return "Transfer-Encoding: only chunked is supported" end,
    [502] = function() return "the model server is not running; check GET /ping" end,
    [504] = function()
        return ("the model server did not respond within %s s; send fewer or smaller images"):format(
            settings.engine_seconds)
    end,
    [505] = function() return "only HTTP/1.0 and HTTP/1.1 are supported" end,
}

function M.sentence(status, ...)
    local known = SENTENCES[status]
    return known and known(...) or "nginx failed; see its log"
end

-- The response to an error of nginx itself.
function M.error_page()
    local status = ngx.status
    local allowed = (ngx.var.allow or ""):match ".+" or "GET, POST"
    if status == 405 then
        ngx.header.allow = allowed
    end
    return M.fail(status, M.sentence(status, allowed))
end

return M
