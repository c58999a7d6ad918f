-- A bare image: converted into TensorFlow Serving's predict request, and for Accept: image/jpeg the
-- response back into an image.

local admission = require "gateway.admission"
local base = require "resty.core.base"
local engines = require "gateway.engines"
local ffi = require "ffi"
local responses = require "gateway.responses"

local M = {}
local PIECE = 49152 -- bytes: a multiple of 3, and short of the strings that LuaJIT maps one by one
local PAUSE_EVERY = 20 * PIECE -- of a large image, so that other requests are handled in between
local HEAD, TAIL = '"instances":[{"b64":"', '"}]}'

-- Where nginx has the body, and its size: as a Lua string, 25 MB take 40 ms in which nothing else runs.
local value, size = ffi.new "char *[1]", ffi.new "size_t[1]"
local function find_body()
    local name, buffer = "request_body", ffi.new "char[12]"
    local found = ffi.C.ngx_http_lua_ffi_var_get(base.get_request(), name, #name, buffer, 0, value,
        size, base.get_errmsg_ptr()) == 0
    return found and size[0] > 0 and {at = value[0], size = tonumber(size[0])} or nil
end

-- Calls `send` with the parts of the predict request, of `length` bytes together.
local function length(picture, head) return #head + #HEAD + 4 * math.ceil(picture.size / 3) + #TAIL end
local function each_part(picture, head, send)
    send(head .. HEAD)
    for at = 0, picture.size - 1, PIECE do
        send(ngx.encode_base64(ffi.string(picture.at + at, math.min(PIECE, picture.size - at))))
        if at % PAUSE_EVERY == 0 and at > 0 then ngx.sleep(0.001) end -- 0 would let no other in
    end
    send(TAIL)
end

-- The image of a request that has a slot now: it is only copied then.
local function admitted(request)
    admission.enter_or_fail(request)
    return find_body() or responses.fail(400, "the body is empty; send the image")
end

-- TensorFlow Serving's JSON for the image.
function M.respond(request)
    local picture = admitted(request)
    ngx.req.init_body(length(picture, "{") + 1)
    each_part(picture, "{", ngx.req.append_body)
    ngx.req.finish_body()
    return ngx.exec "/engine"
end

local function ask(request, picture, signature)
    local head = signature and '{"signature_name":"' .. signature .. '",' or "{"
    return engines.predict(request, function(socket)
        each_part(picture, head, function(part) return socket:send(part) end)
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
    return responses.send(reply.status, "application/json", reply.body)
end

-- With Accept: image/jpeg: the image with its boxes drawn.
function M.draw(request)
    local body = M.predict(request, "draw")
    local drawn = body and ngx.decode_base64(body:match '"b64": ?"([^"]*)"' or "?")
    if drawn then return responses.send(200, "image/jpeg", drawn) end
    return responses.fail(406, "Accept image/jpeg: " .. (body and
        'the output of this model\'s signature "draw" is not an image' or
        'this model cannot draw, it has no signature "draw"') .. "; use application/json")
end

return M
