-- A bare image: converted into TensorFlow Serving's predict request, and for Accept: image/jpeg the
-- response back into an image.

local admission = require "gateway.admission"
local engines = require "gateway.engines"
local responses = require "gateway.responses"

local M = {}
local PIECE = 49152 -- bytes: a multiple of 3, and short of the strings that LuaJIT maps one by one
local PAUSE_EVERY = 20 * PIECE -- of a large image, so that other requests are handled in between

local HEAD, TAIL = '"instances":[{"b64":"', '"}]}'

local function length(picture, head) return #head + #HEAD + 4 * math.ceil(#picture / 3) + #TAIL end

-- Calls `send` with the parts of the predict request.
local function each_part(picture, head, send)
    send(head)
    send(HEAD)
    for at = 1, #picture, PIECE do
        send(ngx.encode_base64(picture:sub(at, at + PIECE - 1)))
        if at % PAUSE_EVERY == 1 and at > 1 then
            ngx.sleep(0.001) -- 0 would not let other requests in
        end
    end
    send(TAIL)
end

local function body()
    return ngx.req.get_body_data() or responses.fail(400, "the body is empty; send the image")
end

-- POST of an image: TensorFlow Serving's JSON for it.
function M.respond(request)
    if not ngx.req.get_body_data() then
        return responses.fail(400, "the body is empty; send the image")
    end
    admission.enter_or_fail(request) -- before the copies are made
    local picture = ngx.req.get_body_data()
    ngx.req.init_body(length(picture, "{") + 1)
    each_part(picture, "{", ngx.req.append_body)
    ngx.req.finish_body()
    return ngx.exec "/engine"
end

-- The reply to a predict request for the image with this signature, by default the default one.
function M.ask(request, picture, signature)
    local head = signature and '{"signature_name":"' .. signature .. '",' or "{"
    return engines.predict(request, function(socket)
        each_part(picture, head, function(part) return socket:send(part) end)
    end, length(picture, head))
end

function M.lacks(reply, signature)
    return reply.status == 400 and
        reply.body:find('\\"' .. signature .. '\\" not found in signature def', 1, true) ~= nil
end

-- Sends a reply of the model server unchanged, or the reason why there is none.
function M.pass_on(reply)
    if reply.why then
        return responses.fail(reply.status, reply.why)
    end
    return responses.send(reply.status, "application/json", reply.body)
end

-- With Accept: image/jpeg: the image with its boxes drawn.
function M.draw(request)
    local picture = M.admitted(request)
    local reply = M.ask(request, picture, "draw")
    if M.lacks(reply, "draw") then
        return responses.fail(406, 'Accept image/jpeg: this model cannot draw, it has no signature ' ..
            '"draw"; use application/json')
    end
    if reply.status ~= 200 then
        return M.pass_on(reply)
    end
    local drawn = ngx.decode_base64(reply.body:match '"b64": ?"([^"]*)"' or "?")
    if not drawn then
        return responses.fail(406, 'Accept image/jpeg: the output of this model\'s signature ' ..
            '"draw" is not an image; use application/json')
    end
    return responses.send(200, "image/jpeg", drawn)
end

-- The image of a request that has a slot now. Its client may leave from here on: the model server
-- would continue, so the slot is kept.
function M.admitted(request)
    local picture = body()
    ngx.on_abort(function()
        if request.slots == 0 then
            ngx.exit(499)
        end
    end)
    admission.enter_or_fail(request)
    return picture
end

return M
