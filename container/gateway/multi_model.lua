-- SageMaker's routes for multi-model endpoints: /models, /models/NAME and /models/NAME/invoke.

local base64 = require "ngx.base64"
local cjson = require "cjson.safe"
local loaded_models = require "gateway.loaded_models"
local readiness = require "gateway.readiness"
local responses = require "gateway.responses"
local settings = require "settings"
local text = require "gateway.text"

local M = {}
local MOST_LISTED = 100 -- models in one response
local LONGEST_NAME = 1024 -- bytes
local LONGEST_URL = 4095 -- bytes of a path on Linux

local function character(hex) return string.char(tonumber(hex, 16)) end

-- The name in the URL; nil if it has none. Not from $uri, in which nginx merges slashes.
local function name_in_url()
    local part = responses.path():match "^/models/([^/]+)"
    return part and (part:gsub("%%(%x%x)", character))
end

local function require_multi_model()
    return settings.multi_model or responses.fail(404, responses.path() ..
        ": no such route; for a multi-model endpoint set SAGEMAKER_MULTI_MODEL=true")
end

local function not_loaded(name)
    return responses.fail(404, name .. ": not loaded; load it with POST /models")
end

local function described(model)
    return ('{"modelName":%s,"modelUrl":%s}'):format(text.quoted(model.name), text.quoted(model.url))
end

-- What is wrong with a model's name; nil if nothing is. Slashes would end it in a URL.
local function wrong_name(name)
    if type(name) ~= "string" or name == "" or #name > LONGEST_NAME then
        return "give a string of 1 to " .. LONGEST_NAME .. " bytes"
    elseif name:find "[%c\127/]" or name == "." or name == ".." or not ngx.re.find(name, "^", "ju") then
        return "give printable text in UTF-8 without a slash, other than . and .."
    end
end

local function load()
    ngx.req.read_body()
    local given = cjson.decode(ngx.req.get_body_data() or "")
    if type(given) ~= "table" then
        return responses.fail(400, 'the body must be {"model_name": "...", "url": "..."}')
    end
    local name, url = given.model_name, given.url
    local wrong = wrong_name(name)
    if wrong then return responses.fail(400, "model_name: " .. wrong) end
    if type(url) ~= "string" or not url:find "^/" or url:find "%c" or #url > LONGEST_URL then
        return responses.fail(400, "url: give the absolute path of the model's folder, such as " ..
            "/opt/ml/models/NAME/model")
    end
    if readiness.is_stopping() then return responses.fail(503, "the container is stopping") end
    local status, why = loaded_models.load(name, url)
    if status then return responses.fail(status, why) end
    return responses.send(200, "application/json", described {name = name, url = url})
end

-- The token of the next page is the last name of this one.
local function list()
    local token = ngx.req.get_uri_args().next_page_token
    local after = token and base64.decode_base64url(tostring(token))
    if token and not after then return responses.fail(400, "next_page_token: not one of GET /models") end
    local parts, last = {}, nil
    for _, name in ipairs((loaded_models.all())) do
        local model = name > (after or "") and loaded_models.get(name)
        if model and #parts == MOST_LISTED then
            local more = ',"nextPageToken":' .. text.quoted(base64.encode_base64url(last))
            parts = table.concat(parts, ",")
            return responses.send(200, "application/json", '{"models":[' .. parts .. "]" .. more .. "}")
        elseif model then
            parts[#parts + 1], last = described(model), name
        end
    end
    return responses.send(200, "application/json", '{"models":[' .. table.concat(parts, ",") .. "]}")
end

-- GET and POST /models
function M.models()
    require_multi_model()
    responses.require_method "GET, POST"
    return ngx.req.get_method() == "POST" and load() or list()
end

-- GET and DELETE /models/NAME
function M.model()
    require_multi_model()
    responses.require_method "GET, DELETE"
    local name = name_in_url() or responses.fail(404) -- nginx takes //models/NAME for the route
    local model = loaded_models.get(name)
    if ngx.req.get_method() == "GET" then
        return model and responses.send(200, "application/json", described(model)) or not_loaded(name)
    end
    local status, why = loaded_models.unload(name)
    if status then return why and responses.fail(status, why) or not_loaded(name) end
    return responses.send(200, "application/json", "{}")
end

-- The response to TargetModel on an endpoint of one model is SageMaker's, whose part this route plays.
local function reject_target_model()
    local endpoint = responses.path():match "^/endpoints/([^/]+)"
    if not endpoint or not ngx.var.http_x_amzn_sagemaker_target_model then return end
    local why = ("Endpoint %s is not a multi-model endpoint and does not support target model header.")
        :format(endpoint)
    ngx.var.why, ngx.header["x-amzn-ErrorType"] = why, "ValidationError"
    return responses.send(400, "application/json",
        ('{"error":%s,"ErrorCode":"TARGET_MODEL_HEADER_NOT_SUPPORTED","Message":%s}'):format(
            text.quoted(why), text.quoted(why)))
end

-- Rejects invocations that name a model on an endpoint of one, or whose URL names none on a
-- multi-model endpoint.
function M.check_url()
    local has_name = name_in_url() ~= nil
    if has_name then require_multi_model() end
    if not settings.multi_model then reject_target_model() end
    if settings.multi_model and not has_name then
        responses.fail(404, responses.path() ..
            ": this endpoint has several models; use POST /models/NAME/invoke")
    end
end

-- The path, at a model server, of the model in the URL of an invocation; nil on an endpoint of one model.
-- The model is not unloaded before the request is over.
function M.path_of(request)
    if not settings.multi_model then return nil end
    local name = name_in_url()
    local model = loaded_models.get(name) or not_loaded(name)
    request.model, model.busy = model, model.busy + 1
    return model.path
end

return M
