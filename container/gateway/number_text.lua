-- Numbers as text, the shortest that is read back as the same number, written to `out` at `n`. In
-- doubles up to 2^53 and powers of ten up to 10^22 are exact, so that one division is rounded as a
-- parser does, and a comparison shows whether the text is the number's.

local ffi = require "ffi"

ffi.cdef "char *gcvt(double, int, char *); double strtod(const char *, char **);"

local M = {}
local EXACT, DOT, MINUS, ZERO = 2 ^ 53, 46, 45, 48
local powers = ffi.new "double[23]"
for i = 0, 22 do powers[i] = 10 ^ i end
local single, scratch = ffi.new "float[1]", ffi.new "char[32]"
local floor, log10 = math.floor, math.log10

-- `digits` digits of a whole number below 2^53, with zeros in front.
local function write_digits(out, n, x, digits)
    for at = n + digits - 1, n, -1 do
        local tenth = floor(x / 10)
        out[at] = ZERO + (x - 10 * tenth)
        x = tenth
    end
    return n + digits
end

local function write_whole(out, n, x)
    local digits, limit = 1, 10
    while x >= limit do digits, limit = digits + 1, 10 * limit end
    return write_digits(out, n, x, digits)
end

-- In C's form, for numbers of any size.
local function write_c(out, n, x, fewest, most, is_single)
    for digits = fewest, most do
        ffi.C.gcvt(x, digits, scratch)
        single[0] = ffi.C.strtod(scratch, nil)
        if (is_single and single[0] or ffi.C.strtod(scratch, nil)) == x then break end
    end
    local size = 0
    while scratch[size] ~= 0 do
        out[n + size] = scratch[size]
        size = size + 1
    end
    return n + size
end

local function write_word(out, n, word)
    ffi.copy(out + n, word, #word)
    return n + #word
end

-- A whole number times 10^-shift.
local function write_decimal(out, n, whole, shift)
    while shift > 0 and whole % 10 == 0 do whole, shift = whole / 10, shift - 1 end
    if shift <= 0 then return write_whole(out, n, whole * powers[-shift]) end
    local before = floor(whole / powers[shift])
    n = write_whole(out, n, before)
    out[n] = DOT
    return write_digits(out, n + 1, whole - before * powers[shift], shift)
end

-- A number from 10^-6 to 10^15 that is not whole, with at least and at most so many digits.
local function write_fraction(out, n, x, fewest, most, is_single)
    local exponent = floor(log10(x))
    for digits = fewest, most do
        local shift = digits - 1 - exponent
        local whole = floor((shift >= 0 and x * powers[shift] or x / powers[-shift]) + 0.5)
        local value = shift >= 0 and whole / powers[shift] or whole * powers[-shift]
        if is_single then
            single[0] = value
            value = single[0]
        end
        if value == x and whole < EXACT then return write_decimal(out, n, whole, shift) end
    end
    return write_c(out, n, x, most, is_single and 9 or 17, is_single)
end

local function write_float(out, n, x, is_single)
    if x ~= x then return write_word(out, n, "NaN") end
    if x < 0 or x == 0 and 1 / x < 0 then
        out[n], n, x = MINUS, n + 1, -x
    end
    if x == math.huge then return write_word(out, n, "Infinity") end
    if x == 0 then return write_word(out, n, "0.0") end
    if x == floor(x) and x < EXACT then return write_whole(out, n, x) end
    if x < 1e-6 or x >= 1e15 then
        return write_c(out, n, x, is_single and 6 or 15, is_single and 9 or 17, is_single)
    end
    return write_fraction(out, n, x, is_single and 6 or 15, is_single and 9 or 16, is_single)
end

function M.single(out, n, x)
    single[0] = x
    return write_float(out, n, single[0], true)
end

function M.double(out, n, x) return write_float(out, n, x, false) end

function M.whole(out, n, x)
    if x < 0 then
        out[n], n, x = MINUS, n + 1, -x
    end
    return write_whole(out, n, x)
end

-- An int64_t or uint64_t.
function M.long(out, n, x)
    if x < 0 then
        out[n], n = MINUS, n + 1
        x = 0ULL - ffi.cast("uint64_t", x)
    end
    x = ffi.cast("uint64_t", x)
    if x < 1000000000ULL then return write_whole(out, n, tonumber(x)) end
    n = write_whole(out, n, tonumber(x / 1000000000ULL))
    return write_digits(out, n, tonumber(x % 1000000000ULL), 9)
end

function M.bool(out, n, x) return write_word(out, n, x ~= 0 and "true" or "false") end

return M
