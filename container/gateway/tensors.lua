-- Requests and responses for any model that the gateway converts: CSV, npy and bare images to
-- TensorFlow Serving's predict request, and its response to lines, CSV or npy.

local admission = require "gateway.admission"
local bodies = require "gateway.bodies"
local csv_rows = require "gateway.csv_rows"
local engines = require "gateway.engines"
local hints = require "gateway.hints"
local images = require "gateway.images"
local json = require "gateway.json"
local json_text = require "gateway.json_text"
local models = require "gateway.models"
local npy_input = require "gateway.npy_input"
local responses = require "gateway.responses"
local signature_text = require "gateway.signature_text"

local M = {read = {}}
local DEFAULT = "serving_default"

local function pass_on(reply, request)
    if reply.why then return responses.fail(reply.status, reply.why) end
    return responses.send(reply.status, "application/json",
        reply.status == 400 and hints.added(reply.body, request) or reply.body)
end

-- A signature of the request's model; fails if it has none of that name.
function M.signature(request, name)
    name = name or DEFAULT
    local all, reply = models.signatures(request.path)
    if not all then return pass_on(reply, request) end
    if all[name] then return all[name] end
    return responses.fail(400, ("the model has no signature %s, but: %s; send application/json with " ..
        '"signature_name"'):format(name, table.concat(signature_text.names(all), ", ")))
end

local function not_empty()
    return bodies.find() or responses.fail(400, "the body is empty; send the rows, or the image")
end

-- The rows of a CSV body.
function M.csv_rows(request)
    local found = not_empty()
    return csv_rows(found.at, found.size, M.signature(request), models.takes_images(request))
end

-- Each reads a body, and returns a list of strings that are a predict request, their size and the
-- signature.
local function wrapped(parts, size, head, tail)
    table.insert(parts, 1, head)
    parts[#parts + 1] = tail
    return parts, size + #head + #tail
end

function M.read.csv(request)
    local rows = M.csv_rows(request)
    local parts, size = rows:all()
    if not parts then return responses.fail(400, rows.why) end
    if size == 0 then
        return responses.fail(400, "the body has no rows" .. (rows.why and ": " .. rows.why .. "; if " ..
            "it is a row, send Content-Type: text/csv; header=absent" or ""))
    end
    parts, size = wrapped(parts, size, '{"instances":[', "]}")
    return parts, size, rows.signature
end

function M.read.npy(request)
    local found, signature = not_empty(), M.signature(request)
    local parts, size, key = npy_input(found.at, found.size, signature, models.takes_images(request))
    parts, size = wrapped(parts, size, '{"' .. key .. '":', "}")
    return parts, size, signature
end

function M.read.picture(request)
    local parts, size = {}, 0
    images.each_part(not_empty(), "{", function(part)
        parts[#parts + 1], size = part, size + #part
    end)
    return parts, size, M.signature(request)
end

function M.read.json(request)
    local found, head, tail, first = json.read()
    local name, parts = nil, {}
    bodies.each_piece(found, first or 0, function(part) parts[#parts + 1] = part end)
    local size = found.size - (first or 0)
    if head then
        parts, size = wrapped(parts, size, head, tail)
    else
        local at = json_text.start(found.at, found.size)
        local function if_name(place, key)
            if key ~= "signature_name" then return nil end
            return json_text.string(found.at, place, found.size) or "" -- the model server rejects others
        end
        name = at < found.size and found.at[at] == 123 and
            json_text.each(found.at, at, found.size, if_name)
    end
    local is_named = type(name) == "string" and name ~= ""
    return parts, size, M.signature(request, is_named and name or nil)
end

-- Responds to a body of one format in another one.
function M.respond(request, read, convert)
    -- If the client leaves, the model server continues, so the slot is kept.
    ngx.on_abort(function() return request.slots == 0 and ngx.exit(499) end)
    local parts, size, signature = read(request)
    local write = convert(signature)
    admission.enter_or_fail(request)
    local reply = engines.predict(request, function(socket)
        for _, part in ipairs(parts) do socket:send(part) end
    end, size)
    admission.leave(request)
    if reply.status ~= 200 then return pass_on(reply, request) end
    return responses.send(200, write(reply.body))
end

return M
