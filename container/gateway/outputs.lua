-- The predictions of a model server's response in the format that the client accepts. Each function
-- takes the model's signature and returns one that takes the response and returns a content type
-- and a body.

local ffi = require "ffi"
local json_text = require "gateway.json_text"
local responses = require "gateway.responses"
local signature_text = require "gateway.signature_text"
local Writer = require "gateway.writer"

ffi.cdef [[
double strtod(const char *, char **);
long long strtoll(const char *, char **, int);
unsigned long long strtoull(const char *, char **, int);
]]

local M = {}
local QUOTE, COMMA, LF, OPEN_BRACE, OPEN, CLOSE = 34, 44, 10, 123, 91, 93
local PAUSE_EVERY = 200000 -- bytes, so that other requests are handled in between

local function no_rows(kind)
    return responses.fail(406, ("Accept %s: the response has no rows, or several outputs by name; " ..
        'send "instances", or accept application/json'):format(kind))
end

-- Where the list of rows begins, or the only value of a scalar; fails if the response has none.
local function find_rows(reply, kind)
    local p, stop = json_text.of(reply)
    local start = json_text.start(p, stop)
    local list = start < stop and json_text.each(p, start, stop, function(at, key)
        return (key == "predictions" or key == "outputs" and p[at] ~= OPEN_BRACE) and at or nil
    end)
    if type(list) ~= "number" then return no_rows(kind) end
    return p, list, stop
end

-- Calls `visit` with where each row begins and ends.
function M.each_row(reply, kind, visit)
    local p, list, stop = find_rows(reply, kind)
    if p[list] ~= OPEN then return visit(p, list, json_text.after_value(p, list, stop)) end
    local pause = list + PAUSE_EVERY
    local at = json_text.after_space(p, list + 1, stop)
    while p[at] ~= CLOSE do
        local last = json_text.after_value(p, at, stop)
        visit(p, at, last)
        at = json_text.after_space(p, last, stop)
        if p[at] == COMMA then at = json_text.after_space(p, at + 1, stop) end
        if at > pause then
            ngx.sleep(0.001)
            pause = at + PAUSE_EVERY
        end
    end
end

-- Copies JSON without its line ends and the indentation after them.
function M.copy_on_one_line(writer, p, at, last)
    local out, n = writer.out, writer.n
    while at < last do
        if n >= writer.FULL then n = writer:flush(n) end
        local c = p[at]
        if c == LF then
            at = json_text.after_space(p, at, last)
        else
            out[n], n, at = c, n + 1, at + 1
        end
    end
    writer.n = n
end

function M.json() return function(reply) return "application/json", reply end end

function M.lines()
    return function(reply)
        local writer = Writer.new()
        writer.pauses = true
        M.each_row(reply, "application/jsonlines", function(p, at, last)
            writer:write '{"predictions": ['
            M.copy_on_one_line(writer, p, at, last)
            writer:write "]}\n"
        end)
        return "application/jsonlines", (writer:finish())
    end
end

-- Where each row must be one line: line ends in a text as \n.
function M.without_line_ends(text) return (text:gsub("\r?\n", "\\n"):gsub("\r", "\\r")) end

-- A text as a cell of CSV, quoted as RFC 4180 asks. Without quotes an empty one might be an empty line.
local function quoted(text)
    return (text == "" or text:find '[",\r\n]') and '"' .. text:gsub('"', '""') .. '"' or text
end
M.quoted = quoted

-- Writes the values in this JSON value, however nested, as cells; returns how many.
local function write_cells(writer, p, at, last)
    local count = 0
    while at < last do
        local c = p[at]
        if c == OPEN or c == CLOSE or c == COMMA or c <= 32 or c == 125 then
            at = at + 1
        elseif c == OPEN_BRACE then -- {"b64": "…"}
            at = json_text.after_value(p, json_text.after_space(p, at + 1, last), last)
            while p[at] ~= QUOTE do at = at + 1 end
        else
            local stop = json_text.after_value(p, at, last)
            if count > 0 then writer:write "," end
            count = count + 1
            if c == QUOTE then
                local text = json_text.string(p, at, stop)
                writer:write(quoted(writer.one_line and M.without_line_ends(text) or text))
            else
                writer:make_room()
                ffi.copy(writer.out + writer.n, p + at, stop - at)
                writer.n = writer.n + stop - at
            end
            at = stop
        end
    end
    return count
end

-- The names of a row with several outputs in order; nil for one output, whose value the row is.
local function names_of(p, at, last)
    local names = {}
    if p[at] ~= OPEN_BRACE then return nil end
    json_text.each(p, at, last, function(_, key) names[#names + 1] = key end)
    table.sort(names)
    return (#names > 1 or names[1] ~= "b64") and names or nil
end

-- Writes a row as a line of CSV; returns its outputs' names, nil if it has one, and how many cells
-- each has.
function M.write_csv_row(writer, p, at, last)
    local names, counts = names_of(p, at, last), nil
    if names then
        local places = {}
        counts = {}
        json_text.each(p, at, last, function(place, key) places[key] = place end)
        for i, name in ipairs(names) do
            if i > 1 then writer:write "," end
            local place = places[name]
            counts[i] = write_cells(writer, p, place, json_text.after_value(p, place, last))
        end
    else
        counts = write_cells(writer, p, at, last)
    end
    writer:write "\n"
    return names, counts
end

-- A header: an output with several cells has them numbered from 0.
local function header_of(names, counts)
    local cells = {}
    for i, name in ipairs(names) do
        for j = 0, counts[i] - 1 do
            cells[#cells + 1] = quoted(counts[i] == 1 and name or name .. "_" .. j)
        end
    end
    return table.concat(cells, ",") .. "\n"
end

function M.wants_header()
    return (ngx.var.http_accept or ""):lower():find "text/csv[^,]*;%s*header%s*=%s*\"?present" ~= nil
end

function M.csv(signature)
    return function(reply)
        local writer, names, counts = Writer.new(), nil, nil
        writer.pauses = true
        M.each_row(reply, "text/csv", function(p, at, last)
            local these, cells = M.write_csv_row(writer, p, at, last)
            if not counts then names, counts = these, cells end
        end)
        local parts = writer:finish()
        if M.wants_header() and counts then
            table.insert(parts, 1, names and header_of(names, counts) or
                header_of({(next(signature.outputs))}, {counts}))
        end
        return "text/csv", parts
    end
end

local function double(text, after) return ffi.C.strtod(text, after) end
local function long(text, after) return ffi.C.strtoll(text, after, 10) end
local function unsigned_long(text, after) return ffi.C.strtoull(text, after, 10) end

local DTYPES = { -- numpy's name, C's type, how it is read
    DT_FLOAT = {"<f4", "float", double}, DT_DOUBLE = {"<f8", "double", double},
    DT_INT8 = {"|i1", "int8_t", double}, DT_INT16 = {"<i2", "int16_t", double},
    DT_INT32 = {"<i4", "int32_t", double}, DT_INT64 = {"<i8", "int64_t", long},
    DT_UINT8 = {"|u1", "uint8_t", double}, DT_UINT16 = {"<u2", "uint16_t", double},
    DT_UINT32 = {"<u4", "uint32_t", double}, DT_UINT64 = {"<u8", "uint64_t", unsigned_long},
    DT_BOOL = {"|b1", "uint8_t", double},
}
local ARRAY = 8192 -- elements that are kept before they become a part

-- The numbers of a nested list as bytes, and its shape.
local function array_of(reply, dtype)
    local _, c_type, read = unpack(DTYPES[dtype])
    local p, list = find_rows(reply, "application/x-npy")
    local text, after = ffi.cast("const char *", p), ffi.new "char *[1]"
    local array, n, parts = ffi.new(c_type .. "[?]", ARRAY), 0, {}
    local depth, at, counts, shape, pause = 0, list, {[0] = 0}, {}, list + PAUSE_EVERY
    local width = ffi.sizeof(c_type)
    repeat
        local c = p[at]
        if c == OPEN then
            depth, at = depth + 1, at + 1
            counts[depth] = 0
        elseif c == CLOSE then
            if shape[depth] and shape[depth] ~= counts[depth] then
                return responses.fail(406, "Accept application/x-npy: the rows of the output have " ..
                    "different lengths; use application/json")
            end
            shape[depth], depth, at = counts[depth], depth - 1, at + 1
            if depth > 0 then counts[depth] = counts[depth] + 1 end
        elseif c == COMMA or c <= 32 then
            at = at + 1
        else
            if c == 116 or c == 102 then -- true, false
                array[n], at = c == 116 and 1 or 0, at + (c == 116 and 4 or 5)
            else
                array[n] = read(text + at, after)
                at = math.max(at + 1, tonumber(after[0] - text))
            end
            n, counts[depth] = n + 1, counts[depth] + 1
            if n == ARRAY then
                parts[#parts + 1], n = ffi.string(array, n * width), 0
                if at > pause then
                    ngx.sleep(0.001)
                    pause = at + PAUSE_EVERY
                end
            end
        end
    until depth == 0
    parts[#parts + 1] = ffi.string(array, n * width)
    return parts, shape
end

function M.npy(signature)
    local name, output = next(signature.outputs)
    if next(signature.outputs, name) then
        return responses.fail(406, "Accept application/x-npy: the model has several outputs, a .npy " ..
            "file has one array; use application/json, or text/csv")
    elseif not DTYPES[output.dtype] then
        return responses.fail(406, ("Accept application/x-npy: the output %s is %s; use application/json")
            :format(name, signature_text.dtype(output)))
    end
    return function(reply)
        local parts, shape = array_of(reply, output.dtype)
        local header = ("{'descr': '%s', 'fortran_order': False, 'shape': (%s), }"):format(
            DTYPES[output.dtype][1], table.concat(shape, ", ") .. (shape[1] and "," or ""))
        header = header .. (" "):rep((-11 - #header) % 64) .. "\n" -- numpy aligns the data to 64 bytes
        local size = string.char(#header % 256, math.floor(#header / 256))
        table.insert(parts, 1, "\147NUMPY\1\0" .. size .. header)
        return "application/x-npy", parts
    end
end

return M
