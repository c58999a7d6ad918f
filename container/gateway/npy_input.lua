-- application/x-npy, numpy's file of one array, as the instances of a predict request. Type and
-- shape are compared with the signature; a number may be given to any type of its kind.

local cells = require "gateway.cells"
local ffi = require "ffi"
local number_text = require "gateway.number_text"
local responses = require "gateway.responses"
local signature_text = require "gateway.signature_text"
local Writer = require "gateway.writer"

local SWAPPED = 500000 -- bytes, so that other requests are handled in between
local KINDS = {b = "bool", i = "int", u = "int", f = "float", S = "string", U = "string"}
local LIMITS = { -- of types whose numbers TensorFlow Serving wraps around
    DT_INT8 = {-128, 127}, DT_INT16 = {-32768, 32767}, DT_UINT8 = {0, 255},
}
local MALFORMED = "the .npy header is malformed; write it with numpy.save"
local NAMES = {b = "bool", i = "int", u = "uint", f = "float", S = "|S", U = "<U"}

local function fail(why) return responses.fail(400, "application/x-npy: " .. why) end

-- The header's fields, and where the data begins.
local function header_of(p, size)
    if size < 12 or ffi.string(p, 6) ~= "\147NUMPY" then
        return fail "the body is not a .npy file; write it with numpy.save"
    end
    local long = p[6] > 1
    local first = long and 12 or 10
    local length = p[8] + 256 * p[9] + (long and 65536 * (p[10] + 256 * p[11]) or 0)
    if p[6] < 1 or p[6] > 3 or first + length > size then return fail(MALFORMED) end
    local header = ffi.string(p + first, length)
    local order, kind, item = header:match "['\"]descr['\"]:%s*['\"]([<>|=]?)(%a)(%d+)['\"]"
    local fortran = header:match "['\"]fortran_order['\"]:%s*(%a+)"
    local dims = header:match "['\"]shape['\"]:%s*(%b())"
    if not fortran or not dims then return fail(MALFORMED) end
    local shape, items = {}, 1
    for number in dims:gmatch "%d+" do
        shape[#shape + 1] = tonumber(number)
        items = items * shape[#shape]
    end
    item = tonumber(item)
    if not KINDS[kind] or item == 0 then
        return fail(("arrays of %s are not supported; use bool, int, uint, float or strings"):format(
            header:match "['\"]descr['\"]:%s*(.-),%s*['\"]fortran" or "this type"))
    end
    local width = kind == "U" and 4 * item or item
    if first + length + items * width ~= size then
        return fail(("the shape (%s) and the type need %.0f bytes of data, the body has %d"):format(
            table.concat(shape, ", "), items * width, size - first - length))
    end
    return {kind = kind, width = width, shape = shape, items = items, fortran = fortran == "True",
        is_swapped = order == ">", unit = kind == "U" and 4 or kind == "S" and 1 or item},
        p + first + length
end

-- The data with the bytes of each number reversed.
local function swapped(p, size, unit)
    local copy = ffi.new("uint8_t[?]", size)
    for first = 0, size - 1, unit do
        for i = 0, unit - 1 do copy[first + i] = p[first + unit - 1 - i] end
        if first % SWAPPED < unit and first > 0 then ngx.sleep(0.001) end
    end
    return copy
end

local function half(bits)
    local exponent, fraction = math.floor(bits / 1024) % 32, bits % 1024
    local x = exponent == 31 and (fraction == 0 and math.huge or 0 / 0) or
        exponent == 0 and fraction * 2 ^ -24 or (1024 + fraction) * 2 ^ (exponent - 25)
    return bits >= 32768 and -x or x
end

local READERS = {
    b1 = function(p) return p[0] end, u1 = function(p) return p[0] end,
    i1 = function(p) return ffi.cast("const int8_t *", p)[0] end,
    u2 = function(p) return ffi.cast("const uint16_t *", p)[0] end,
    i2 = function(p) return ffi.cast("const int16_t *", p)[0] end,
    u4 = function(p) return ffi.cast("const uint32_t *", p)[0] end,
    i4 = function(p) return ffi.cast("const int32_t *", p)[0] end,
    u8 = function(p) return ffi.cast("const uint64_t *", p)[0] end,
    i8 = function(p) return ffi.cast("const int64_t *", p)[0] end,
    f2 = function(p) return half(ffi.cast("const uint16_t *", p)[0]) end,
    f4 = function(p) return ffi.cast("const float *", p)[0] end,
    f8 = function(p) return ffi.cast("const double *", p)[0] end,
}

local function within(read, name, dtype)
    local least, most = unpack(LIMITS[dtype] or {})
    return least and function(p)
        local x = read(p)
        local number = tonumber(x)
        if number < least or number > most then
            fail(("%.0f is not in the range of the input %s, which takes %s"):format(number, name,
                signature_text.dtype {dtype = dtype}))
        end
        return x
    end or read
end

-- What writes so many numbers, `stride` bytes apart.
local function numbers_run(read, write)
    return function(writer, p, count, stride)
        local out, n = writer.out, writer.n
        for i = 0, count - 1 do
            if i > 0 then out[n], n = 44, n + 1 end
            n = write(out, n, read(p + i * stride))
            if n >= writer.FULL then n = writer:flush(n) end
        end
        writer.n = n
    end
end

-- numpy's strings end with zeros, which do not count. |S are bytes, sent as such; <U is text.
local function write_bytes(writer, p, width)
    while width > 0 and p[width - 1] == 0 do width = width - 1 end
    writer:write('{"b64":"' .. ngx.encode_base64(ffi.string(p, width)) .. '"}')
end

local function write_text(writer, p, width, is_image)
    local points, size = ffi.cast("const uint32_t *", p), 0
    local utf8 = ffi.new("uint8_t[?]", width + 1)
    local count = width / 4
    while count > 0 and points[count - 1] == 0 do count = count - 1 end
    for i = 0, count - 1 do
        local c, more = points[i], 0
        if c < 128 then
            utf8[size] = c
        else
            more = c < 2048 and 1 or c < 65536 and 2 or 3
            local lead = more == 1 and 192 or more == 2 and 224 or 240
            utf8[size] = lead + math.floor(c / 64 ^ more)
            for j = 1, more do utf8[size + j] = 128 + math.floor(c / 64 ^ (more - j)) % 64 end
        end
        size = size + 1 + more
    end
    if is_image then writer:write '{"b64":' end
    writer:write_string(utf8, 0, size)
    if is_image then writer:write "}" end
end

local function strings_run(width, write, is_image)
    return function(writer, p, count, stride)
        for i = 0, count - 1 do
            if i > 0 then writer:write "," end
            writer:make_room()
            write(writer, p + i * stride, width, is_image)
        end
    end
end

local function run_of(array, name, dtype, is_image)
    if array.kind == "S" then return strings_run(array.width, write_bytes) end
    if array.kind == "U" then return strings_run(array.width, write_text, is_image) end
    local read = READERS[array.kind .. array.width]
    if not read then return fail(("numbers of %d bytes are not supported"):format(array.width)) end
    local write = number_text.whole
    if array.kind == "b" then
        write = number_text.bool
    elseif array.kind == "f" then
        write = dtype == "DT_DOUBLE" and number_text.double or number_text.single
    elseif array.width == 8 then
        write = number_text.long
    end
    return numbers_run(within(read, name, dtype), write)
end

local function check(array, name, input)
    local fits = cells.kind(input.dtype) == KINDS[array.kind] or
        cells.kind(input.dtype) == "float" and KINDS[array.kind] == "int"
    local shape = input.shape
    local same = not shape or #shape == #array.shape
    for i, size in ipairs(same and shape or {}) do
        same = same and (size < 0 or size == array.shape[i])
    end
    if not fits or not same then
        local is_text = array.kind == "S" or array.kind == "U"
        local bits = is_text and array.width / array.unit or array.kind == "b" and "" or 8 * array.width
        return fail(("the array is %s%s %s; the input %s takes %s"):format(NAMES[array.kind], bits,
            signature_text.shape(array.shape), name, signature_text.tensor(input)))
    elseif array.items == 0 then
        return fail "the array is empty; send at least one row"
    end
end

-- The array as JSON, as a list of strings, their size, and the key of the predict request.
return function(p, size, signature, takes_images)
    local name, input = next(signature.inputs)
    if not name or next(signature.inputs, name) then
        return fail(("the model has several inputs: %s; send application/json, or CSV with a header")
            :format(signature_text.inputs(signature)))
    end
    local array, data = header_of(p, size)
    check(array, name, input)
    if array.is_swapped and array.unit > 1 then
        data = swapped(data, array.items * array.width, array.unit)
    end
    local write_run, writer = run_of(array, name, input.dtype, takes_images), Writer.new()
    local shape, rank, strides, index = array.shape, #array.shape, {}, {}
    local stride = array.width
    for i = array.fortran and 1 or rank, array.fortran and rank or 1, array.fortran and 1 or -1 do
        strides[i], index[i], stride = stride, 0, stride * shape[i]
    end
    local offset, depth = 0, rank == 0 and 0 or 1
    writer.pauses = true
    if rank == 0 then write_run(writer, data, 1, 0) end
    while depth > 0 do -- depth: up to where lists are open
        writer:write(("["):rep(rank - depth + 1))
        write_run(writer, data + offset, shape[rank], strides[rank])
        depth = rank
        repeat -- close what is complete, and go to the next
            writer:write "]"
            depth = depth - 1
            if depth > 0 then
                index[depth], offset = index[depth] + 1, offset + strides[depth]
                if index[depth] == shape[depth] then
                    offset, index[depth] = offset - shape[depth] * strides[depth], 0
                else
                    writer:write ","
                    depth = depth + 1
                    break
                end
            end
        until depth == 0
    end
    local parts, size = writer:finish()
    return parts, size, rank == 0 and "inputs" or "instances"
end
