-- JSON Lines: one line in the response for each record. Several records are one request to a model
-- server; what it rejects is halved and sent again, so that an invalid record costs its own line.

local admission = require "gateway.admission"
local cjson = require "cjson.safe"
local engines = require "gateway.engines"
local models = require "gateway.models"
local responses = require "gateway.responses"
local scan = require "gateway.scan"
local settings = require "settings"
local byte, find, sub = string.byte, string.find, string.sub

local MOST = 50000 -- records
local GROUP_RECORDS, GROUP_BYTES = 256, 1000000
local FATAL = {[404] = true, [502] = true, [503] = true, [504] = true} -- no record causes these
local HEAD, TAIL = '{"instances":[', "]}"
local NOT_JSON = '{"error":"line %d is not JSON; send one record per line: {\\"b64\\": \\"...\\"}, ' ..
    'a base64 string, or an instance for the model"}\n'

local function count_lines(body)
    local lines, at = 0, 1
    while at <= #body and lines <= MOST do
        lines, at = lines + 1, (find(body, "\n", at, true) or #body) + 1
    end
    return lines
end

local function trimmed(body, first, last) -- gsub takes 13 ms for a megabyte
    while first <= last and byte(body, first) <= 32 do first = first + 1 end
    while last >= first and byte(body, last) <= 32 do last = last - 1 end
    return sub(body, first, last)
end

local function on_one_line(text) return (text:gsub("[ \t\r]*\n[ \t\r]*", "")) end

-- The instance of a line, as it is written; nil if it is not JSON.
local function instance(line, request)
    local record = cjson.decode(line)
    if record ~= nil and type(record) ~= "string" then return line end
    local string = record and line or find(line, "^[%w+/]+=?=?$") and '"' .. line .. '"'
    return string and models.takes_images(request) and '{"b64":' .. string .. "}" or record and line
end

-- The lines of a reply with several predictions; nil if it has another number of them.
local function lines_of(reply, count)
    local _, list = find(reply, '^%s*{%s*"predictions"%s*:%s*%[')
    if not list then return nil end
    local head, found = on_one_line(sub(reply, 1, list)), {}
    local whole = scan.each(reply, list, function(first, last)
        found[#found + 1] = head .. on_one_line(sub(reply, first, last)) .. "]}"
    end)
    return whole and #found == count and found or nil
end

return function(request)
    local body = ngx.req.get_body_data() or ""
    local lines = count_lines(body)
    if lines == 0 then
        return responses.fail(400, "the body has no records; send one JSON line per record")
    elseif lines > MOST then
        return responses.fail(413, ("the body has more than %d records; split it (Batch Transform: " ..
            "a smaller MaxPayloadInMB)"):format(MOST))
    end
    local at, read = find(body, "^\239\187\191") and 4 or 1, 0 -- a byte order mark is no record
    local answers, answered, rejected, failed, gone = {}, 0, 0, nil, false
    local workers = math.min(settings.records_in_flight, lines)
    local most = math.min(math.ceil(lines / workers), GROUP_RECORDS)
    ngx.on_abort(function()
        gone = true
        return request.slots == 0 and ngx.exit(499)
    end)

    -- Where many records are invalid, halving takes longer than sending each by itself.
    local function many_rejected() return rejected > 64 + answered / 16 end

    local function answer(number, line) answers[number], answered = line .. "\n", answered + 1 end

    -- The next records, and the numbers of their lines.
    local function group()
        local instances, numbers, size = {}, {}, 0
        local limit = many_rejected() and 1 or most
        while read < lines and #instances < limit and size < GROUP_BYTES do
            local stop = find(body, "\n", at, true) or #body + 1
            local line, number = trimmed(body, at, stop - 1), read + 1
            at, read = stop + 1, number
            local record = instance(line, request)
            if record then
                instances[#instances + 1], numbers[#numbers + 1] = record, number
                size = size + #record
            else
                answers[number] = NOT_JSON:format(number)
            end
        end
        return instances, numbers
    end

    -- The reply for some records; nil if the whole request has failed.
    local function ask(instances, first, last)
        local reply
        if failed or gone then return nil end
        if not admission.enter(request) then
            failed = failed or {status = 503, why = admission.busy()}
            return nil
        end
        if not failed and not gone then
            local part = table.concat(instances, ",", first, last)
            reply = engines.predict(request, {HEAD, part, TAIL}, #HEAD + #part + #TAIL)
        end
        admission.leave(request)
        if reply and FATAL[reply.status] then failed = failed or reply end
        return not failed and reply or nil
    end

    local function settle(instances, numbers, first, last)
        local reply, count = ask(instances, first, last), last - first + 1
        if not reply then return end
        local found = count > 1 and reply.status == 200 and lines_of(reply.body, count)
        if found or count == 1 then
            for i = 1, count do
                answer(numbers[first + i - 1], found and found[i] or on_one_line(reply.body))
            end
            return
        end
        rejected = rejected + 1
        local part = many_rejected() and 1 or math.ceil(count / 2)
        for start = first, last, part do
            settle(instances, numbers, start, math.min(start + part - 1, last))
        end
    end

    local threads = {}
    for i = 1, workers do
        threads[i] = ngx.thread.spawn(function()
            while read < lines and not failed and not gone do
                local instances, numbers = group()
                if #instances > 0 then settle(instances, numbers, 1, #instances) end
            end
        end)
    end
    for _, thread in ipairs(threads) do assert(ngx.thread.wait(thread)) end
    if gone then return ngx.exit(499) end
    if not failed then return responses.send(200, "application/jsonlines", answers) end
    if failed.why then return responses.fail(failed.status, failed.why) end
    return responses.send(failed.status, "application/json", failed.body)
end
