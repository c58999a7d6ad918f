-- Numbers of CSV as JSON, byte for byte by a table: for each state and byte there is the next
-- state, and what is written and where. States below FIRST end a number. What the tables do not
-- know is ODD, and left to cells.lua.

local cells = require "gateway.cells"
local ffi = require "ffi"

local M = {ODD = 0, AT_COMMA = 1, AT_LINE_END = 2, AT_CR = 3, FIRST = 4}
local MOST_STATES = 64
local DIGITS, NOT_ZERO = "0123456789", "123456789"
-- Where a byte is written, and by how much the text grows. Before each number there are zeros, so
-- that ZERO_FIRST makes 0.5 of .5; REPLACE drops a leading zero; SKIP writes where it does not
-- matter.
local COPY, SKIP, REPLACE, ZERO_FIRST = {0, 1}, {8, 0}, {-1, 0}, {1, 2}

local function new_table()
    local size = 256 * MOST_STATES
    local made = {next_state = ffi.new("uint8_t[?]", size), place = ffi.new("int8_t[?]", size),
        growth = ffi.new("int8_t[?]", size), character = ffi.new("uint8_t[?]", size), ends = {}}
    for i = 0, size - 1 do made.place[i] = SKIP[1] end
    local numbers, count = {}, M.FIRST - 1
    local function number_of(name)
        if not numbers[name] then numbers[name], count = count + 1, count + 1 end
        return numbers[name]
    end
    local function add(name, characters, to, how, written)
        for i = 1, #characters do
            local at = 256 * number_of(name) + characters:byte(i)
            made.next_state[at] = type(to) == "number" and to or number_of(to)
            made.place[at], made.growth[at] = how[1], how[2]
            made.character[at] = (written or characters:sub(i, i)):byte()
        end
    end
    local function may_end(name)
        add(name, ",", M.AT_COMMA, SKIP)
        add(name, "\n", M.AT_LINE_END, SKIP)
        add(name, "\r", M.AT_CR, SKIP)
        made.ends[number_of(name)] = true
    end
    return made, add, may_end
end

local function add_float(add, may_end, before)
    for _, first in ipairs {"start", "plus", "minus"} do
        add(before .. first, "0", before .. "zero", COPY)
        add(before .. first, NOT_ZERO, before .. "whole", COPY)
        add(before .. first, ".", before .. "point", ZERO_FIRST)
        if first ~= "minus" then add(before .. first, "nN", before .. "n", COPY, "N") end
    end
    add(before .. "n", "aA", before .. "na", COPY, "a")
    add(before .. "na", "nN", before .. "nan", COPY, "N")
    add(before .. "zero", "0", before .. "zero", REPLACE)
    add(before .. "zero", NOT_ZERO, before .. "whole", REPLACE)
    add(before .. "whole", DIGITS, before .. "whole", COPY)
    add(before .. "point", DIGITS, before .. "fraction", COPY)
    add(before .. "fraction", DIGITS, before .. "fraction", COPY)
    for _, state in ipairs {"zero", "whole"} do add(before .. state, ".", before .. "point", COPY) end
    for _, state in ipairs {"zero", "whole", "fraction"} do
        add(before .. state, "eE", before .. "e", COPY)
    end
    add(before .. "e", "+-", before .. "sign", COPY)
    for _, state in ipairs {"e", "sign"} do add(before .. state, DIGITS, before .. "exponent", COPY) end
    add(before .. "exponent", DIGITS, before .. "exponent_2", COPY)
    for _, state in ipairs {"zero", "whole", "fraction", "exponent", "exponent_2", "nan"} do
        may_end(before .. state)
    end
end

local function add_whole(add, may_end, before, most_digits)
    for _, first in ipairs {"start", "plus", "minus"} do
        if first ~= "minus" then add(before .. first, "0", before .. "zero", COPY) end
        add(before .. first, NOT_ZERO, before .. "digit1", COPY)
    end
    add(before .. "zero", "0", before .. "zero", REPLACE)
    add(before .. "zero", NOT_ZERO, before .. "digit1", REPLACE)
    may_end(before .. "zero")
    for i = 1, most_digits do
        local state = before .. "digit" .. i
        if i < most_digits then add(state, DIGITS, before .. "digit" .. i + 1, COPY) end
        may_end(state)
    end
end

local function table_for(dtype)
    local made, add, may_end = new_table()
    local is_float = cells.kind(dtype) == "float"
    local most_digits, has_sign
    if not is_float then most_digits, has_sign = cells.safe_digits(dtype) end
    for _, before in ipairs {"", "quoted "} do
        add(before .. "start", " ", before .. "start", SKIP)
        add(before .. "start", "+", before .. "plus", SKIP)
        if is_float or has_sign then add(before .. "start", "-", before .. "minus", COPY) end
        local function ends(name)
            if before == "" then may_end(name) else add(name, '"', "closed", SKIP) end
            add(name, " ", before .. "space", SKIP)
        end
        if is_float then add_float(add, ends, before) else add_whole(add, ends, before, most_digits) end
        ends(before .. "space")
    end
    add("start", '"', "quoted start", SKIP)
    may_end "closed"
    return made
end

local tables = {}

-- The table for numbers of this type; nil for other types.
function M.of(dtype)
    local kind = cells.kind(dtype)
    if kind ~= "float" and kind ~= "int" then return nil end
    tables[dtype] = tables[dtype] or table_for(dtype)
    return tables[dtype]
end

return M
