-- Responses of the gateway itself. Errors are always JSON with a message that says what to do.

local settings = require "settings"
local text = require "gateway.text"

local M = {RETRY_AFTER = 1} -- seconds
local CONDITIONS = { -- a header, and nginx's variable for it
    ["If-Match"] = "http_if_match", ["If-None-Match"] = "http_if_none_match",
    ["If-Unmodified-Since"] = "http_if_unmodified_since",
}

local SENTENCES = {
    [400] = "malformed HTTP/1.1; check the request line and headers",
    [404] = "{path}: no such route; use POST /invocations, GET /ping, GET /execution-parameters",
    [405] = "{path}: method not allowed; use {allowed}",
    [412] = "If-Match, If-None-Match, If-Unmodified-Since: responses have no version to compare; " ..
        "remove the header",
    [413] = "the body is larger than {megabytes} MB; send a smaller image, or fewer per request",
    [414] = "the URL is longer than 8 kB; send the data in the body",
    [431] = "a header is over 8 kB, or all headers together are over 32 kB; send less",
    [501] = "Transfer-Encoding: only chunked is supported",
    [502] = "the model server is not running; check GET /ping",
    [504] = "the model server did not respond within {seconds} s; send fewer or smaller images",
    [505] = "only HTTP/1.0 and HTTP/1.1 are supported",
}

if settings.hooks[1] then
    SENTENCES[502] = "the hook process died while it handled the request; see its log"
    SENTENCES[504] = "inference.py did not respond within {seconds} s; see the log"
end

-- "" in a timer, which has no request.
function M.path()
    return (ngx.get_phase() ~= "timer" and ngx.var.request_uri or ""):match "^[^?]*"
end

function M.sentence(status, allowed)
    local facts = {path = M.path(), allowed = allowed, megabytes = settings.body_megabytes,
        seconds = settings.engine_seconds}
    return (SENTENCES[status] or "nginx failed; see its log"):gsub("{(%a+)}", facts)
end

-- `body` is a string or a list of strings.
function M.send(status, kind, body)
    for name in pairs(CONDITIONS) do
        ngx.req.clear_header(name) -- nginx would turn a 200 into a 412 inside ngx.print, and crash
    end
    local length = 0
    for _, part in ipairs(type(body) == "table" and body or {body}) do length = length + #part end
    ngx.status, ngx.header.content_type, ngx.header["Content-Length"] = status, kind, length
    ngx.print(body)
    return ngx.exit(ngx.HTTP_OK)
end

function M.fail(status, why)
    why = why or M.sentence(status)
    ngx.var.why = why -- for the log
    if status == 503 then ngx.header["Retry-After"] = M.RETRY_AFTER end
    return M.send(status, "application/json", '{"error":' .. text.quoted(why) .. "}")
end

local function not_allowed(allowed)
    ngx.header["Allow"] = allowed
    return M.fail(405, M.sentence(405, allowed))
end

-- Rejects other methods and conditional requests, also those with an empty condition.
function M.require_method(allowed)
    local method = ngx.req.get_method()
    if method ~= allowed and not (", " .. allowed .. ","):find(", " .. method .. ",", 1, true) then
        not_allowed(allowed)
    end
    for _, variable in pairs(CONDITIONS) do
        if ngx.var[variable] then return M.fail(412) end
    end
end

-- Runs a route, and responds even if it fails.
function M.run(route)
    local ok, why = pcall(route)
    if not ok then
        ngx.log(ngx.CRIT, why)
        return M.fail(500, "internal error in the gateway: " .. tostring(why))
    end
end

-- The response to an error of nginx itself.
function M.error_page()
    local allowed = (ngx.var.allow or ""):match ".+" or "GET, POST"
    return ngx.status == 405 and not_allowed(allowed) or M.fail(ngx.status)
end

return M
