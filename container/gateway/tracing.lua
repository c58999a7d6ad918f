-- W3C Trace Context: the id of the trace of a request; nil if its traceparent is missing or malformed.

return function()
    local header = ngx.var.http_traceparent
    if not header then return nil end
    local version, trace, parent, rest = header:match "^(%x%x)%-(%x+)%-(%x+)%-%x%x(.*)$"
    local is_valid = version and version ~= "ff" and #trace == 32 and #parent == 16 and
        not header:find "%u" and trace:find "[^0]" and parent:find "[^0]" and
        (rest == "" or version ~= "00" and rest:sub(1, 1) == "-")
    return is_valid and trace or nil
end
