-- X-Amzn-SageMaker-Custom-Attributes, as in AWS's container: which model, version and method.

local responses = require "gateway.responses"
local settings = require "settings"

local METHODS, served = {predict = "predict", classify = "classify", regress = "regress"}, {}
for _, name in ipairs(settings.models) do served[name] = name end

local function version(value)
    local digits = value:match "^%d+$"
    local fits = digits and (#digits <= 18 or #digits == 19 and digits < "9")
    return fits and "/versions/" .. digits
end

local NAMES = {
    ["tfs-model-version"] = {version, "as a whole number such as 3"},
    ["tfs-method"] = {function(value) return METHODS[value:lower()] end,
        "as predict, classify or regress"},
    ["tfs-model-name"] = {function(value) return served[value] end,
        "as one of: " .. table.concat(settings.models, " ")},
}

if settings.multi_model then NAMES["tfs-model-name"] = nil end -- the URL has the name

-- The method, and the path of the model at a model server. `model_path` is that of a model which the URL
-- names. Unknown attributes are ignored.
return function(model_path)
    local given = {}
    for attribute in (ngx.var.http_x_amzn_sagemaker_custom_attributes or ""):gmatch "[^,]+" do
        local name, value = attribute:match "^%s*([^=]-)%s*=%s*(.-)%s*$"
        name = (name or attribute:match "^%s*(.-)%s*$"):lower()
        local known = NAMES[name]
        local meaning = known and value and not given[name] and known[1](value)
        if known and not meaning then
            local sentence = "X-Amzn-SageMaker-Custom-Attributes: %s must be given once, %s"
            responses.fail(400, sentence:format(name, known[2]))
        end
        given[name] = meaning
    end
    local path = model_path or "/v1/models/" .. (given["tfs-model-name"] or settings.models[1])
    return given["tfs-method"] or "predict", path .. (given["tfs-model-version"] or "")
end
