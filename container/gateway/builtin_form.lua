-- application/x-image: the content type and response format of SageMaker's built-in algorithm
-- "Object Detection - TensorFlow". Boxes are xmin, ymin, xmax, ymax, as AWS's notebooks read them;
-- its documentation has another order.

local cjson = require("cjson.safe").new()
local images = require "gateway.images"
local responses = require "gateway.responses"
local text = require "gateway.text"

cjson.decode_invalid_numbers(false)

-- application/json;verbose;n_predictions=5: whether there are labels, and how many detections.
local function parameters()
    local verbose, most = false, math.huge
    for word in (ngx.var.http_accept or ""):lower():gmatch "[^;,]+" do
        word = word:match "^%s*(.-)%s*$"
        verbose = verbose or word == "verbose"
        if word:find "^n_predictions" then
            most = tonumber(word:match "^n_predictions *= *0*([1-9]%d*)$") or
                responses.fail(400, "Accept: n_predictions must be a whole number above 0")
        end
    end
    return verbose, most
end

-- The numbers of the detections, best first. Those after num_detections are padding.
local function best(found, most)
    local order, scores = {}, found.detection_scores
    local count = math.min(#found.detection_boxes, found.num_detections or math.huge)
    for i = 1, count do order[i] = i end
    table.sort(order, function(a, b)
        return scores[a] > scores[b] or scores[a] == scores[b] and a < b
    end)
    for i = #order, most + 1, -1 do order[i] = nil end
    return order
end

-- A JSON list of what `write` makes of each.
local function list(all, write)
    local parts = {}
    for i, one in ipairs(all) do parts[i] = write(one) end
    return "[" .. table.concat(parts, ",") .. "]"
end

-- Clients use the class number as index into the list.
local function labels(found, order)
    local names = {}
    for _, i in ipairs(order) do
        local class = found.detection_classes[i]
        for missing = #names + 1, class do names[missing] = "" end
        names[class + 1] = found.detection_names and found.detection_names[i] or text.number(class)
    end
    return list(names, text.quoted)
end

local function rewritten(found, verbose, most)
    local order = best(found, most)
    local function numbers(name)
        return list(order, function(i) return text.number(found[name][i]) end)
    end
    local boxes = list(order, function(i)
        local box = found.detection_boxes[i]
        return list({box[2], box[1], box[4], box[3]}, text.number)
    end)
    return ('{"normalized_boxes":%s,"classes":%s,"scores":%s%s}'):format(boxes,
        numbers "detection_classes", numbers "detection_scores",
        verbose and ',"labels":' .. labels(found, order) or "")
end

return function(request)
    local verbose, most = parameters()
    -- From the signature with names, or from the default one in third-party models.
    local decoded = cjson.decode(images.predict(request, "detect", true))
    if not decoded then
        return responses.fail(500, "the response has NaN or Infinity, which JSON does not allow; " ..
            "send the image as image/jpeg to see it")
    end
    local found = decoded.predictions and decoded.predictions[1]
    if type(found) ~= "table" or not found.detection_boxes then
        return responses.fail(415, "Content-Type application/x-image: this model is not a " ..
            "detector, it returns no detection_boxes; send the image with its own content type")
    end
    return responses.send(200, "application/json", rewritten(found, verbose, most))
end
