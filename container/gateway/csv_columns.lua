-- What the columns of CSV are to a model: the text that JSON has around each cell, by its
-- signature.

local cells = require "gateway.cells"
local signature_text = require "gateway.signature_text"
local text = require "gateway.text"

local M = {}

-- Whether the first row is a header: Content-Type says so, or it looks like one.
local function is_header(row, inputs, names)
    local said = (ngx.var.content_type or ""):lower():match ";%s*header%s*=%s*\"?(%a+)"
    if said == "present" or said == "absent" then return said == "present" end
    if said then return nil, "Content-Type: header must be present or absent" end
    if #row == #names then
        local named = {}
        for _, cell in ipairs(row) do named[cell] = true end
        local all = true
        for _, name in ipairs(names) do all = all and named[name] end
        if all then return true end
    end
    for _, name in ipairs(names) do
        if inputs[name].dtype == "DT_STRING" then return false end
    end
    local has_name = false
    for _, cell in ipairs(row) do
        if cells.is_number(cell) then return false end
        has_name = has_name or cell:find "^%s*[%a_\128-\255]" ~= nil -- 1e400 and 1;2 are malformed rows
    end
    return has_name
end

-- Brackets for the sizes of one instance, without the batch: what opens before and closes after
-- each cell.
local function brackets(sizes, columns)
    local opened, closed, inner = {}, {}, 1
    for i = 1, columns do opened[i], closed[i] = "", "" end
    for depth = #sizes, 1, -1 do
        inner = inner * sizes[depth]
        for i = 1, columns, inner do opened[i] = opened[i] .. "[" end
        for i = inner, columns, inner do closed[i] = closed[i] .. "]" end
    end
    return opened, closed
end

-- The sizes of an instance of this input that a row of so many cells gives, and whether they are its
-- shape's. If not, it is a list of the cells, as AWS's container sends it: TensorFlow Serving does not
-- compare shapes, and many models take what their signature does not say.
local function sizes_of(shape, columns)
    local flat = columns > 1 and {columns} or {}
    if not shape or #shape == 0 then return flat, true end
    local sizes, product, open = {}, 1, nil
    for i = 2, #shape do
        sizes[i - 1] = shape[i]
        if shape[i] < 0 then open = open and 0 or i - 1 else product = product * shape[i] end
    end
    if open == 0 then return {columns}, true end
    if open and product > 0 then sizes[open] = math.floor(columns / product) end
    local fits = product * (open and sizes[open] or 1) == columns
    return fits and sizes or #shape > 1 and {columns} or flat, fits
end

-- `row` are the cells of the first row. Returns whether it is a header, the columns (for each its
-- name, its type and what is written before its cell), what is written after a row, and whether the
-- columns are those of the input's shape. Or nil and why.
function M.of(signature, row, takes_images)
    local inputs = signature.inputs
    local names, described = signature_text.names(inputs), signature_text.inputs(signature)
    local header, why = is_header(row, inputs, names)
    if header == nil then return nil, why end
    for _, name in ipairs(names) do
        if not cells.kind(inputs[name].dtype) then
            return nil, ("CSV cannot give the types of the model's inputs: %s"):format(described)
        end
    end
    local columns, after, known = {}, "", {} -- known: there may be 100,000 that are alike
    local function add(name, label, opened, closed)
        local dtype = inputs[name].dtype
        local is_image = takes_images and dtype == "DT_STRING"
        local before = after .. label .. opened .. (is_image and '{"b64":' or "")
        known[before] = known[before] or {name = name, dtype = dtype, before = before}
        columns[#columns + 1] = known[before]
        after = (is_image and "}" or "") .. closed .. ","
    end
    if #names == 1 then
        local sizes, fits = sizes_of(inputs[names[1]].shape, #row)
        local opened, closed = brackets(sizes, #row)
        for i = 1, #row do add(names[1], "", opened[i], closed[i]) end
        return header, columns, after:sub(1, -2), fits
    end
    local given = {}
    for _, cell in ipairs(row) do
        if header and inputs[cell] then given[cell] = true end
    end
    for _, name in ipairs(names) do
        if not given[name] or #row ~= #names then
            return nil, ("the model has several inputs: %s; the first line must be a header with " ..
                "these names"):format(described)
        end
    end
    for i, name in ipairs(row) do
        local nested = ("["):rep(math.max(#(inputs[name].shape or {}) - 1, 0))
        add(name, (i == 1 and "{" or "") .. text.quoted(name) .. ":", nested, ("]"):rep(#nested))
    end
    return header, columns, after:sub(1, -2) .. "}", true
end

return M
