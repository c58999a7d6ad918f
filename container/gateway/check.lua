-- For `serve check --load`: describes each loaded model in the file `report`, with an example request
-- for each signature, which has been sent to the model.

local cjson = require "cjson.safe"
local engines = require "gateway.engines"
local examples = require "gateway.examples"
local models = require "gateway.models"
local settings = require "settings"
local signature_text = require "gateway.signature_text"
local text = require "gateway.text"

local M = {}
local LONGEST = 2000 -- bytes of a body that is shown as it is
local SHOWN = 300 -- bytes of a response
local MOST_FEATURES = 100
local FEATURES = {float = "0.5", int64 = "1", string = '"some text"'}
-- Builds a large body: t(0.5, 224, 224, 3) is a list of lists of lists.
local PYTHON = "import json; t = lambda value, n, *rest: [t(value, *rest) if rest else value " ..
    "for _ in range(n)]; print(json.dumps(%s))"

local function shell_quoted(word) return "'" .. word:gsub("'", "'\\''") .. "'" end

local function curl(model, method, body, python)
    local attributes = {}
    if model ~= settings.models[1] then attributes[1] = "tfs-model-name=" .. model end
    if method ~= "predict" then attributes[#attributes + 1] = "tfs-method=" .. method end
    local header = #attributes > 0 and " \\\n      --header 'X-Amzn-SageMaker-Custom-Attributes: " ..
        table.concat(attributes, ", ") .. "'" or ""
    local head = ("curl %s/invocations --header 'Content-Type: application/json'%s \\\n      "):format(
        settings.check, header)
    if #body <= LONGEST then return head .. "--data " .. shell_quoted(body) end
    return ("python3 -c %s |\n    %s--data-binary @-"):format(shell_quoted(PYTHON:format(python)), head)
end

local function on_one_line(body)
    local line = body:gsub("%s*\n%s*", " "):gsub("%s*%[%[{{.*", "") -- nodes of the graph
    return #line > SHOWN and line:sub(1, SHOWN) .. "…" or line
end

-- The reply to a request, and its error if it has one.
local function ask(model, method, body)
    local path = ("/v1/models/%s:%s"):format(model, method)
    local reply = engines.exchange(engines.all[1], path, 5, settings.engine_seconds, {body}, #body)
    local told = cjson.decode(reply.body or "")
    return reply, type(told) == "table" and told.error or reply.body or reply.why
end

-- The last of several predict requests: the first that the model accepts.
local function predict(model, name, signature)
    local reply, why, body, python
    for _, try in ipairs(examples.tries(name, signature)) do
        reply, why = ask(model, "predict", try.body)
        body, python = try.body, #try.body > LONGEST and examples.body(name, signature, try, true)
        if reply.status == 200 then break end
    end
    return reply, why, body, python
end

-- A classify or regress request. Only errors name the features of its examples.
local function with_features(model, name, method)
    local features, reply, why, body = {}, nil, nil, nil
    for _ = 1, MOST_FEATURES do
        body = ('{"signature_name": %s, "examples": [{%s}]}'):format(text.quoted(name),
            table.concat(features, ", "))
        reply, why = ask(model, method, body)
        local feature, kind = why:match "Feature: (.-) %(data type: (%w+)%) is required"
        if not FEATURES[kind] then break end
        features[#features + 1] = text.quoted(feature) .. ": " .. FEATURES[kind]
    end
    return reply, why, body
end

-- A request that the model accepts, and its response; otherwise why there is none.
local function example(model, name, signature)
    local method = signature.method:match "^tensorflow/serving/([cr]%l+)$" -- classify or regress
    local reply, why, body, python
    if method then reply, why, body = with_features(model, name, method) end
    if not reply or reply.status ~= 200 then
        method = "predict" -- works with any signature
        reply, why, body, python = predict(model, name, signature)
    end
    if not reply then
        return "\n    no example: an input is too large for one, or JSON has no values of its dtype\n"
    elseif reply.status ~= 200 then
        return ("\n    no example: the model rejected each that was tried, the last one with %d: %s\n")
            :format(reply.status, on_one_line(why))
    end
    return ("\n    %s\n    → %s\n"):format(curl(model, method, body, python), on_one_line(reply.body))
end

local function describe(model, out)
    local signatures, reply = models.signatures("/v1/models/" .. model)
    if not signatures then error(("%d: %s"):format(reply.status, reply.why or reply.body), 0) end
    if not next(signatures) then
        error("model " .. model .. ": has no signatures, so that no request works; save it with some", 0)
    end
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
