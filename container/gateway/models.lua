-- What a model takes and returns: its signatures, from TensorFlow Serving's metadata.

local cjson = require "cjson.safe"
local engines = require "gateway.engines"
local settings = require "settings"

local M = {}
local FRESH_SECONDS = 2 -- a newer version with other signatures may be loaded at any time
local REFRESH_SECONDS = 1 -- then the last ones are used
local CONNECT_SECONDS = 5
local known = {} -- by path: the signatures or a reply, and until when they are not requested again

-- The sizes of a shape, -1 for one that varies; nil if the rank is unknown.
local function shape_of(shape)
    if type(shape) ~= "table" or shape.unknown_rank then return nil end
    local sizes = {}
    for i, one in ipairs(shape.dim or {}) do sizes[i] = tonumber(one.size) end
    return sizes
end

local function tensors_of(all)
    local tensors = {}
    for name, one in pairs(type(all) == "table" and all or {}) do
        tensors[name] = {dtype = one.dtype, shape = shape_of(one.tensor_shape)}
    end
    return tensors
end

local function signatures_of(text)
    local told, signatures = cjson.decode(text), {}
    for _, name in ipairs {"metadata", "signature_def", "signature_def"} do
        told = type(told) == "table" and told[name]
    end
    for name, one in pairs(type(told) == "table" and told or {}) do
        if not name:find "^__" and type(one) == "table" then -- such as __saved_model_init_op
            signatures[name] = {method = one.method_name or "", inputs = tensors_of(one.inputs),
                outputs = tensors_of(one.outputs)}
        end
    end
    return signatures
end

-- The signatures of the model at this path of a model server, by name: {inputs = {NAME = {dtype =
-- "DT_FLOAT", shape = {-1, 4}}}, outputs = …, method = …}. Otherwise nil and the model server's
-- reply.
function M.signatures(path)
    local one, now = known[path], ngx.now()
    if one and now < one.fresh_until then return one.signatures, one.reply end
    if one then one.fresh_until = now + FRESH_SECONDS end -- for all others meanwhile
    local seconds = one and one.signatures and REFRESH_SECONDS or settings.engine_seconds
    local reply, signatures
    for _, engine in ipairs(engines.all) do
        reply = engines.exchange(engine, path .. "/metadata", math.min(CONNECT_SECONDS, seconds), seconds)
        if not reply.unreached then break end
    end
    if reply.status == 200 then
        signatures, reply = signatures_of(reply.body), nil
    elseif reply.status == 504 then -- the model server is busy or hangs
        signatures = one and one.signatures
        reply = not signatures and reply or nil
    else
        known[path] = nil
        return nil, reply
    end
    known[path] = {signatures = signatures, reply = reply, fresh_until = ngx.now() + FRESH_SECONDS}
    return signatures, reply
end

-- The same, without a request for it: those that were last read, or nil.
function M.known(path) return known[path] and known[path].signatures end

-- After this path's model was unloaded: another one of that name may have other signatures.
function M.forget(path)
    for one in pairs(known) do
        if one == path or one:sub(1, #path + 1) == path .. "/" then known[one] = nil end
    end
end

-- Whether a string in JSON Lines is an image in base64: the model of the request is a detector,
-- with the signature `detect` or detection_boxes. If it has no metadata, the request itself will
-- tell why.
function M.takes_images(request)
    if settings.strings ~= "auto" then return settings.strings == "images" end
    local signatures = M.signatures(request.path) or {}
    for _, signature in pairs(signatures) do
        if signature.outputs.detection_boxes then return true end
    end
    return signatures.detect ~= nil
end

return M
