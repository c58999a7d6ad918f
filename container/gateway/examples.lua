-- Example requests for a signature: for each input a tensor of its dtype and shape, as JSON.

local signature_text = require "gateway.signature_text"
local text = require "gateway.text"

local M = {}
local MOST = 300000 -- values of a tensor
local SIDES = {8, 64, 224} -- for unknown dimensions other than the first, which is 1

-- A PNG file of 2 x 2 pixels, and a tf.Example without features.
local IMAGE = '{"b64": "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR4nGNgYGioZ2hgYK' ..
    'hvqK9vAAAV+gP9ymqPPgAAAABJRU5ErkJggg=="}'
local EXAMPLE = '{"b64": ""}'
local TEXT = '"some text"'

local VALUES = {bool = "true", float32 = "0.5", float64 = "0.5"}
for name in ("int8 int16 int32 int64 uint8 uint32 uint64"):gmatch "%S+" do VALUES[name] = "1" end

-- Whether a string is probably an image file, by the names of the input and the outputs.
local function is_image(signature, name)
    for word in ("image img b64 bytes encoded jpeg jpg png photo picture"):gmatch "%S+" do
        if name:lower():find(word, 1, true) then return true end
    end
    return signature.outputs.detection_boxes or signature.outputs.image_bytes
end

-- Where the rows of a ragged tensor begin: all its values are in the first one.
local function is_row_splits(name, input)
    return name:find "row_splits$" and input.shape and #input.shape == 1
end

-- A tensor of equal values, its dimensions from the `first` on; nil if it is too large. As JSON, or as
-- a call of the Python function t.
local function tensor(value, shape, first, side, as_python)
    local sizes, all = {}, 1
    for i = first, #shape do
        sizes[#sizes + 1] = shape[i] >= 0 and shape[i] or i == 1 and 1 or side
        all = all * sizes[#sizes]
    end
    if all > MOST then return nil end
    if as_python and all > 1 then
        value = value == "true" and "True" or value
        return ("t(%s, %s)"):format(value, table.concat(sizes, ", "))
    end
    for i = #sizes, 1, -1 do value = "[" .. value:rep(sizes[i], ", ") .. "]" end
    return value
end

-- The example for an input; nil if there is none: JSON has no values of its dtype, or it is too large.
function M.input(signature, name, try, first, as_python)
    local input = signature.inputs[name]
    local dtype = signature_text.dtype(input)
    local value = VALUES[dtype]
    if is_row_splits(name, input) then
        return "[0, 1]"
    elseif dtype == "string" then
        value = try and try.string or is_image(signature, name) and IMAGE or TEXT
    end
    local side = try and try.side or SIDES[1]
    return value and tensor(value, input.shape or {-1}, first or 1, side, as_python)
end

-- Most clients send rows, but TensorFlow Serving has rows only if the first dimension of each tensor is
-- their number.
local function has_rows(signature)
    for _, tensors in ipairs {signature.inputs, signature.outputs} do
        for name, one in pairs(tensors) do
            if not one.shape or one.shape[1] ~= -1 or is_row_splits(name, one) then return false end
        end
    end
    return true
end

-- The body of a predict request, as JSON or as a Python expression; nil if an input has no example.
function M.body(name, signature, try, as_python)
    local rows = has_rows(signature) and not (try and try.in_columns)
    local names, inputs = signature_text.names(signature.inputs), {}
    for i, input in ipairs(names) do
        local example = M.input(signature, input, try, rows and 2 or 1, as_python)
        if not example then return nil end
        inputs[i] = #names == 1 and example or text.quoted(input) .. ": " .. example
    end
    local all = #names == 1 and inputs[1] or "{" .. table.concat(inputs, ", ") .. "}"
    local head = name == "serving_default" and "" or '"signature_name": ' .. text.quoted(name) .. ", "
    return "{" .. head .. (rows and '"instances": [' .. all .. "]" or '"inputs": ' .. all) .. "}"
end

-- What to try, in this order: the metadata does not say what a string is, nor how large an unknown
-- dimension must be. Each is a body, and the argument of the functions above that makes it.
function M.tries(name, signature)
    local tries, seen = {}, {}
    local function add(try)
        local body = M.body(name, signature, try)
        if body and not seen[body] then
            seen[body], try.body = true, body
            tries[#tries + 1] = try
        end
    end
    for _, side in ipairs(SIDES) do
        for _, string in ipairs {false, TEXT, IMAGE, EXAMPLE} do add {side = side, string = string} end
    end
    add {in_columns = true} -- some models have other numbers of rows in their outputs
    return tries
end

return M
