-- Signatures in words, for messages and for people.

local M = {}
local DTYPES = {DT_FLOAT = "float32", DT_DOUBLE = "float64", DT_HALF = "float16"}

-- TensorFlow's name of a dtype.
function M.dtype(tensor) return DTYPES[tensor.dtype] or tensor.dtype:gsub("^DT_", ""):lower() end

-- The names of signatures, inputs or outputs, in order.
function M.names(map)
    local names = {}
    for name in pairs(map) do names[#names + 1] = name end
    table.sort(names)
    return names
end

-- [N, 224, 224, 3], with `unknown` for each unknown dimension.
function M.shape(shape, unknown)
    local sizes = {}
    for i, size in ipairs(shape) do sizes[i] = size < 0 and unknown or ("%d"):format(size) end
    return "[" .. table.concat(sizes, ", ") .. "]"
end

-- float32 [N, 4]
function M.tensor(tensor)
    return M.dtype(tensor) .. (tensor.shape and " " .. M.shape(tensor.shape, "N") or " of any shape")
end

-- x (float32 [N, 4]), y (string [N])
function M.inputs(signature)
    local parts = M.names(signature.inputs)
    for i, name in ipairs(parts) do
        parts[i] = ("%s (%s)"):format(name, M.tensor(signature.inputs[name]))
    end
    return #parts == 0 and "no inputs" or table.concat(parts, ", ")
end

return M
