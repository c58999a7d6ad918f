-- Models with Python code of their own (code/inference.py). Its processes take the model servers'
-- place: they get each request as it is, with the path that it would have there.

local admission = require "gateway.admission"
local engines = require "gateway.engines"
local formats = require "gateway.formats"
local inflate = require "gateway.inflate"
local read_attributes = require "gateway.attributes"
local requests = require "gateway.requests"
local responses = require "gateway.responses"
local settings = require "settings"

local M = {exist = #settings.hooks > 0}
local COPIES = 3 -- of a body: here, in the process, and what it sends to the model server
local CONNECT_SECONDS, READ_SECONDS, NO_SUCH_FILE = 0.5, 1, 2

local function unpack_body()
    local coding = (ngx.var.http_content_encoding or ""):lower()
    if coding == "" or coding == "identity" then return end
    if coding ~= "gzip" and coding ~= "x-gzip" then
        responses.fail(415, ("Content-Encoding %s: not supported; use gzip"):format(coding))
    end
    local text = inflate(ngx.req.get_body_data() or "", settings.body_megabytes * 2 ^ 20)
    if not text then responses.fail(413) end
    ngx.req.set_body_data(text)
end

function M.respond()
    local request, v = requests.begin(), ngx.var
    if request.trace_id then ngx.header.traceparent = v.http_traceparent end
    request.format = formats.of_body()
    local method, path = read_attributes()
    v.engine_path = path .. ":" .. method
    local length = not v.http_transfer_encoding and tonumber(v.http_content_length or 0)
    admission.reserve(request, COPIES * (length or settings.body_megabytes * 2 ^ 20))
    ngx.req.read_body()
    unpack_body()
    admission.enter_or_fail(request)
    return ngx.exec "/hook"
end

local function ask(process)
    local _, _, reason = io.open((process.host:gsub("^unix:", "")))
    if reason == NO_SUCH_FILE then return {status = 502} end -- nginx would log it as critical
    return engines.exchange(process, "/", CONNECT_SECONDS, READ_SECONDS)
end

-- Each process: whether it has imported inference.py, by its number.
function M.states()
    local threads, states = {}, {}
    for i, process in ipairs(M.exist and engines.receivers or {}) do
        threads[i] = ngx.thread.spawn(ask, process)
    end
    for i, thread in ipairs(threads) do
        local reply = select(2, assert(ngx.thread.wait(thread)))
        local why = reply.status == 504 and "hook process %d does not respond" or
            "hook process %d is not running, or still imports inference.py; see its log"
        states[i] = {up = reply.status == 200, why = why:format(i)}
    end
    return states
end

return M
