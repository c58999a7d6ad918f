-- A bare image: converted into TensorFlow Serving's predict request, and for Accept: image/jpeg the
-- response back into an image.

local admission = require "gateway.admission"
local bodies = require "gateway.bodies"
local engines = require "gateway.engines"
local hints = require "gateway.hints"
local models = require "gateway.models"
local responses = require "gateway.responses"

local M = {}
local HEAD, TAIL = '"instances":[{"b64":"', '"}]}'

-- Calls `send` with the parts of the predict request, of `length` bytes together.
local function length(picture, head) return #head + #HEAD + 4 * math.ceil(picture.size / 3) + #TAIL end
function M.each_part(picture, head, send)
    send(head .. HEAD)
    bodies.each_piece(picture, 0, function(piece) send(ngx.encode_base64(piece)) end)
    send(TAIL)
end

-- The image of a request that has a slot now: it is only copied then.
local function admitted(request)
    admission.enter_or_fail(request)
    return bodies.find() or responses.fail(400, "the body is empty; send the image")
end

-- TensorFlow Serving's JSON for the image.
function M.respond(request)
    local picture = admitted(request)
    ngx.req.init_body(length(picture, "{") + 1)
    M.each_part(picture, "{", ngx.req.append_body)
    ngx.req.finish_body()
    return ngx.exec "/engine"
end

local function ask(request, picture, signature)
    local head = signature and '{"signature_name":"' .. signature .. '",' or "{"
    return engines.predict(request, function(socket)
        M.each_part(picture, head, function(part) return socket:send(part) end)
    end, length(picture, head))
end

-- The body of the model server's response for the image with this signature; if the model lacks it,
-- with the default one if `or_default`, or else nil. Any other response is sent unchanged.
function M.predict(request, signature, or_default)
    -- If the client leaves, the model server continues, so the slot is kept.
    ngx.on_abort(function() return request.slots == 0 and ngx.exit(499) end)
    local picture = admitted(request)
    local reply = ask(request, picture, signature)
    local lacking = ('\\"%s\\" not found in signature def'):format(signature)
    if reply.status == 400 and reply.body:find(lacking, 1, true) then
        if not or_default then return nil end
        reply = ask(request, picture)
    end
    if reply.why then responses.fail(reply.status, reply.why) end
    if reply.status == 200 then return reply.body end
    return responses.send(reply.status, "application/json",
        reply.status == 400 and hints.added(reply.body, request) or reply.body)
end

-- Whether an image cannot be meant for the model: its signature takes more or other things than strings.
local function takes_no_image(signature)
    local first = signature and next(signature.inputs)
    return first and (next(signature.inputs, first) or signature.inputs[first].dtype ~= "DT_STRING")
end

-- With Accept: image/jpeg: the image with its boxes drawn.
function M.draw(request)
    local reply = M.predict(request, "draw")
    local drawn = reply and ngx.decode_base64(reply:match '"b64": ?"([^"]*)"' or "?")
    if drawn then return responses.send(200, "image/jpeg", drawn) end
    local signature = not reply and (models.signatures(request.path) or {}).serving_default
    if takes_no_image(signature) then
        return responses.fail(415, hints.no_image(signature))
    end
    return responses.fail(406, "Accept image/jpeg: " .. (reply and
        'the output of this model\'s signature "draw" is not an image' or
        'this model cannot draw, it has no signature "draw"') .. "; use application/json")
end

return M
