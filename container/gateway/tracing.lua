-- W3C Trace Context: a valid traceparent is returned to the client, and its trace is in the log.

local M = {}

-- The id of the trace of a request; nil if there is none.
function M.id()
    local header = ngx.var.http_traceparent
    if not header then
        return nil
    end
    local version, trace, parent, rest = header:match "^(%x%x)%-(%x+)%-(%x+)%-%x%x(.*)$"
    local is_valid = version and version ~= "ff" and #trace == 32 and #parent == 16 and
        not header:find "%u" and trace:find "[^0]" and parent:find "[^0]" and
        (rest == "" or version ~= "00" and rest:sub(1, 1) == "-")
    return is_valid and trace or nil
end

return M
