-- Text for JSON that the gateway writes itself.

local cjson = require "cjson.safe"

local M = {}

-- As a JSON string. Client input need not be UTF-8, but JSON must be: if it is not, each byte beyond
-- ASCII is replaced.
function M.quoted(text)
    if not text:find '[%c"\\\127-\255]' then return '"' .. text .. '"' end
    if not ngx.re.find(text, "^", "ju") then text = text:gsub("[\128-\255]", "\239\191\189") end
    return (cjson.encode(text):gsub("\\/", "/")) -- cjson escapes each slash
end

-- The shortest form that is read back as the same number.
function M.number(value)
    for _, form in ipairs {"%.9g", "%.15g"} do
        local text = form:format(value)
        if tonumber(text) == value then return text end
    end
    return ("%.17g"):format(value)
end

return M
