-- The cells of CSV as JSON, by the type of the input.

local signature_text = require "gateway.signature_text"
local text = require "gateway.text"

local M = {}
local KINDS = {DT_BOOL = "bool", DT_STRING = "string"}
for name in ("FLOAT DOUBLE HALF BFLOAT16"):gmatch "%S+" do KINDS["DT_" .. name] = "float" end
local DIGITS = { -- of the largest number, and how many digits always fit
    DT_INT8 = {"127", 2}, DT_INT16 = {"32767", 4}, DT_INT32 = {"2147483647", 9},
    DT_INT64 = {"9223372036854775807", 18}, DT_UINT8 = {"255", 2}, DT_UINT16 = {"65535", 4},
    DT_UINT32 = {"4294967295", 9}, DT_UINT64 = {"18446744073709551615", 19},
}
for name in pairs(DIGITS) do KINDS[name] = "int" end
local WORDS = {nan = "NaN", inf = "Infinity", infinity = "Infinity"}
local BOOLS = {["true"] = "true", ["false"] = "false", ["1"] = "true", ["0"] = "false"}

-- float, int, bool or string; nil for types that JSON cannot have.
function M.kind(dtype) return KINDS[dtype] end

-- How many digits a whole number may have to fit whatever they are, and whether it may be negative.
function M.safe_digits(dtype) return DIGITS[dtype][2], not dtype:find "UINT" end

-- The parts of a number: sign, digits, digits after the point, exponent; nil if it is none.
local function parts(cell)
    local sign, digits, point, fraction, rest = cell:match "^([+-]?)(%d*)(%.?)(%d*)(.*)$"
    local exponent = rest and (rest == "" and "" or rest:match "^[eE][+-]?%d+$")
    if not exponent or digits .. fraction == "" then return nil end
    digits = digits:match "^0*(%d+)$" or "0"
    return sign == "-" and "-" or "", digits, fraction, exponent, point
end

local function float(cell)
    local sign, digits, fraction, exponent, point = parts(cell)
    if sign then
        local number = sign .. digits .. point .. (point ~= "" and fraction == "" and "0" or fraction) ..
            exponent
        if math.abs(tonumber(number)) < math.huge then return number end
        return nil, "is too large"
    end
    local word_sign, word = cell:lower():match "^([+-]?)(%a+)$"
    word = WORDS[word]
    if not word then return nil, "is not a number" end
    return (word_sign == "-" and word ~= "NaN" and "-" or "") .. word
end

local function int(cell, dtype)
    local sign, digits, fraction, exponent = parts(cell)
    if not sign then return nil, "is not a whole number" end
    if exponent ~= "" or fraction:find "[^0]" then -- 3.0 is as spreadsheets and pandas write 3
        local number = tonumber(digits .. "." .. fraction .. "0" .. exponent)
        if number >= 2 ^ 53 then return nil, "is too large to be exact; write all its digits" end
        if number % 1 ~= 0 then return nil, "is not a whole number" end
        digits = ("%.0f"):format(number)
    end
    local most = DIGITS[dtype][1]
    if digits == "0" then return "0" end
    if sign == "-" then
        if dtype:find "UINT" then return nil, "is negative" end
        most = most:gsub("7$", "8")
    end
    if #digits > #most or #digits == #most and digits > most then return nil, "is too large" end
    return sign .. digits
end

-- The JSON of a cell that is no string; nil and why if it cannot be one.
function M.value(cell, dtype)
    local kind = KINDS[dtype]
    cell = cell:match "^%s*(.-)%s*$"
    if cell == "" then return nil, "is empty" end
    if kind == "float" then return float(cell) end
    if kind == "int" then return int(cell, dtype) end
    return BOOLS[cell:lower()], "is not true or false"
end

function M.is_number(cell) return M.value(cell, "DT_FLOAT") or BOOLS[cell:lower()] end

function M.wrong(line, column, cell, why, name, dtype)
    local shown = text.quoted(#cell > 40 and cell:sub(1, 40) .. "..." or cell)
    return ("line %d, column %d: %s %s; the input %s takes %s"):format(line, column, shown, why, name,
        signature_text.dtype {dtype = dtype})
end

return M
