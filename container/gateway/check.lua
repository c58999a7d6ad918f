-- For `serve check --load`: describes each loaded model in the file `report`, with an example request
-- for each signature, which has been sent to the model.

local cjson = require "cjson.safe"
local engines = require "gateway.engines"
local examples = require "gateway.examples"
local models = require "gateway.models"
local settings = require "settings"
local signature_text = require "gateway.signature_text"

local M = {}
local LONGEST = 2000 -- bytes of a body that is shown as it is
local SHOWN = 300 -- bytes of a response
-- Builds a large body: t(0.5, 224, 224, 3) is a list of lists of lists.
local PYTHON = "import json; t = lambda value, n, *rest: [t(value, *rest) if rest else value " ..
    "for _ in range(n)]; print(json.dumps(%s))"

local function shell_quoted(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

local function curl(model, name, signature, try)
    local attributes = model ~= settings.models[1] and
        " \\\n      --header 'X-Amzn-SageMaker-Custom-Attributes: tfs-model-name=" .. model .. "'" or ""
    local head = ("curl %s/invocations --header 'Content-Type: application/json'%s \\\n      "):format(
        settings.check, attributes)
    if #try.body <= LONGEST then return head .. "--data " .. shell_quoted(try.body) end
    local python = PYTHON:format(examples.body(name, signature, try, true))
    return ("python3 -c %s |\n    %s--data-binary @-"):format(shell_quoted(python), head)
end

local function on_one_line(body)
    local line = body:gsub("%s*\n%s*", " "):gsub("%s*%[%[{{.*", "") -- nodes of the graph
    return #line > SHOWN and line:sub(1, SHOWN) .. "…" or line
end

-- The first request that the model accepts, and its response; otherwise why there is none.
local function example(model, name, signature)
    local tries, reply = examples.tries(name, signature), nil
    for _, try in ipairs(tries) do
        reply = engines.exchange(engines.all[1], "/v1/models/" .. model .. ":predict", 5,
            settings.engine_seconds, {try.body}, #try.body)
        if reply.status == 200 then
            return ("\n    %s\n    → %s\n"):format(curl(model, name, signature, try),
                on_one_line(reply.body))
        end
    end
    if not reply then
        return "\n    no example: an input is too large for one, or JSON has no values of its dtype\n"
    end
    local told = cjson.decode(reply.body or "")
    local why = on_one_line(told and told.error or reply.body or reply.why)
    return ("\n    no example: the model rejected each that was tried, the last one with %d: %s\n")
        :format(reply.status, why)
end

local function describe(model, out)
    local signatures = assert(models.signatures("/v1/models/" .. model))
    out[#out + 1] = ("%smodel %s\n"):format(out[1] and "\n" or "", model)
    for _, name in ipairs(signature_text.names(signatures)) do
        local signature = signatures[name]
        out[#out + 1] = ("\n  signature %s (%s)\n"):format(name, signature.method)
        for _, kind in ipairs {"input", "output"} do
            local tensors = signature[kind .. "s"]
            for _, one in ipairs(signature_text.names(tensors)) do
                out[#out + 1] = ("    %-6s %s: %s\n"):format(kind, one, signature_text.tensor(tensors[one]))
            end
        end
        out[#out + 1] = example(model, name, signature)
    end
end

function M.start()
    if not settings.check then return end
    assert(ngx.timer.at(0, function()
        local out = {}
        local ok, why = pcall(function()
            for _, model in ipairs(settings.models) do describe(model, out) end
        end)
        local file = assert(io.open(ngx.config.prefix() .. "report", "w"))
        file:write(table.concat(out), ok and "checked" or "the check failed: " .. tostring(why), "\n")
        file:close()
    end))
end

return M
