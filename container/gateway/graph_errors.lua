-- Errors of a model's graph, without the places in the graph that TensorFlow writes around them.

local M = {}
local ASSERTED = "assertion failed: %[([^%[%]]+)%] *"
local BEFORE = {"^Graph execution error:%s*", "^{{function_node [^}]*}}%s*"}

-- The text for a client: the sentence of an assertion in the graph, or else the error from its begin.
function M.sentence(message)
    local asserted = message:match(ASSERTED .. "\n") or message:match(ASSERTED .. "$")
    if asserted then return asserted end
    local removed
    repeat
        removed = 0
        for _, pattern in ipairs(BEFORE) do
            local count
            message, count = message:gsub(pattern, "", 1)
            removed = removed + count
        end
    until removed == 0
    return message
end

return M
