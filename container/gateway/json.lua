-- TensorFlow Serving's own JSON, sent on unchanged, and bare JSON.

local admission = require "gateway.admission"
local bare_json = require "gateway.bare_json"
local bodies = require "gateway.bodies"
local inflate = require "gateway.inflate"
local json_text = require "gateway.json_text"
local responses = require "gateway.responses"
local settings = require "settings"

local M = {}

-- With batching on, TensorFlow Serving holds a request without rows, {"inputs": []}, and its thread
-- until the timeout. Of a key that is given twice it uses the first one.
local function has_no_rows(p, stop)
    local function if_empty(at)
        local is_list = p[at] == 91 and json_text.after_space(p, at + 1, stop)
        return is_list and is_list < stop and p[is_list] == 93 and "empty" or nil
    end
    local start = json_text.start(p, stop)
    local found = start < stop and p[start] == 123 and json_text.each(p, start, stop, function(at, key)
        if key == "instances" then return "checked by TensorFlow Serving" end
        if key ~= "inputs" then return nil end
        return p[at] == 123 and json_text.each(p, at, stop, if_empty) or if_empty(at) or "rows"
    end)
    return found == "empty"
end

-- The body, unpacked, and what a predict request has before and after it if it is bare JSON.
function M.read()
    local text, found = nil, bodies.find()
    if ngx.var.engine_coding == "gzip" then
        text = inflate(ngx.req.get_body_data() or "", settings.body_megabytes * 2 ^ 20)
        if not text then return responses.fail(413) end
        found = {text = text, at = json_text.of(text), size = #text}
    end
    found = found or {at = json_text.of "", size = 0}
    if settings.batching and has_no_rows(found.at, found.size) then
        return responses.fail(400, '"inputs" has no rows; send at least one')
    end
    return found, bare_json(found.at, found.size)
end

function M.respond(request)
    local found, head, tail, first = M.read()
    admission.enter_or_fail(request)
    if head then
        ngx.var.engine_coding = ""
        ngx.req.init_body(#head + found.size - first + #tail + 1)
        ngx.req.append_body(head)
        bodies.each_piece(found, first, ngx.req.append_body)
        ngx.req.append_body(tail)
        ngx.req.finish_body()
    end
    return ngx.exec "/engine"
end

return M
