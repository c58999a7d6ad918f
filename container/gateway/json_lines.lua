-- JSON Lines: one line in the response for each record. Several records are one request to a model
-- server; what it rejects is halved and sent again, so that an invalid record costs only its own line.

local admission = require "gateway.admission"
local cjson = require "cjson.safe"
local engines = require "gateway.engines"
local models = require "gateway.models"
local responses = require "gateway.responses"
local scan = require "gateway.scan"
local settings = require "settings"
local text = require "gateway.text"
local byte, find, sub = string.byte, string.find, string.sub

local M = {}
local MOST = 50000 -- records
local GROUP_RECORDS, GROUP_BYTES = 256, 1000000
local FATAL = {[404] = true, [502] = true, [503] = true, [504] = true} -- no record causes these
local HEAD, TAIL = '{"instances":[', "]}"

local function count_lines(body)
    local lines, at = 0, 1
    while at <= #body and lines <= MOST do
        lines = lines + 1
        at = (find(body, "\n", at, true) or #body) + 1
    end
    return lines
end

local function trimmed(body, first, last) -- gsub takes 13 ms for a megabyte
    while first <= last and byte(body, first) <= 32 do
        first = first + 1
    end
    while last >= first and byte(body, last) <= 32 do
        last = last - 1
    end
    return sub(body, first, last)
end

local function on_one_line(reply) return (reply:gsub("[ \t\r]*\n[ \t\r]*", "")) end

-- The instance of a line, as it is written; nil if it is not JSON.
local function instance(line, request)
    local record = cjson.decode(line)
    if record == nil then
        local is_base64 = find(line, "^[%w+/]+=?=?$") and models.takes_images(request)
        return is_base64 and '{"b64":"' .. line .. '"}' or nil
    elseif type(record) == "string" and models.takes_images(request) then
        return '{"b64":' .. line .. "}"
    end
    return line
end

-- The lines of a reply with several predictions; nil if it has another number of them.
local function lines_of(reply, count)
    local _, list = find(reply, '^%s*{%s*"predictions"%s*:%s*%[')
    local found = list and scan.elements(reply, list)
    if not found or #found ~= count then
        return nil
    end
    local head = on_one_line(sub(reply, 1, list))
    for i, prediction in ipairs(found) do
        found[i] = head .. on_one_line(prediction) .. "]}"
    end
    return found
end

function M.respond(request)
    local body = ngx.req.get_body_data() or ""
    local lines = count_lines(body)
    if lines == 0 then
        return responses.fail(400, "the body has no records; send one JSON line per record")
    elseif lines > MOST then
        return responses.fail(413, ("the body has more than %d records; split it (Batch Transform: a " ..
            "smaller MaxPayloadInMB)"):format(MOST))
    end
    local at, read = sub(body, 1, 3) == "\239\187\191" and 4 or 1, 0
    local answers, settled, rejected, failed, gone = {}, 0, 0, nil, false
    local most = math.ceil(lines / settings.records_in_flight) -- so that all of them have work
    ngx.on_abort(function()
        gone = true
        if request.slots == 0 then
            ngx.exit(499)
        end
    end)

    -- Where many records are invalid, halving takes longer than sending each by itself.
    local function many_rejected() return rejected > 64 + settled / 16 end

    -- The next records, and the numbers of their lines.
    local function group()
        local instances, numbers, size = {}, {}, 0
        local limit = many_rejected() and 1 or math.min(most, GROUP_RECORDS)
        while read < lines and #instances < limit and size < GROUP_BYTES do
            local stop = find(body, "\n", at, true) or #body + 1
            local line = trimmed(body, at, stop - 1)
            at, read = stop + 1, read + 1
            local number = read
            local record = instance(line, request)
            if record then
                instances[#instances + 1], numbers[#instances + 1] = record, number
                size = size + #record
            else
                answers[number] = ('{"error":"line %d is not JSON; send one record per line: {\\"b64\\": ' ..
                    '\\"...\\"}, a base64 string, or an instance for the model"}\n'):format(number)
            end
        end
        return instances, numbers
    end

    -- nil if the whole request has failed.
    local function ask(instances, first, last)
        if failed or gone then
            return nil
        end
        if not admission.enter(request) then
            failed = failed or {status = 503, why = admission.busy()}
            return nil
        end
        local reply
        if not gone and not failed then
            local part = table.concat(instances, ",", first, last)
            reply = engines.predict(request, {HEAD, part, TAIL}, #HEAD + #part + #TAIL)
        end
        admission.leave(request)
        if reply and FATAL[reply.status] then
            failed = failed or reply
            return nil
        end
        return reply
    end

    local function settle(instances, numbers, first, last)
        local reply = ask(instances, first, last)
        if not reply then
            return
        end
        local found = last > first and reply.status == 200 and lines_of(reply.body, last - first + 1)
        if found then
            for i, line in ipairs(found) do
                answers[numbers[first + i - 1]] = line .. "\n"
            end
            settled = settled + #found
        elseif last == first then
            answers[numbers[first]] = on_one_line(reply.body) .. "\n"
            settled = settled + 1
        else
            rejected = rejected + 1
            local part = many_rejected() and 1 or math.ceil((last - first + 1) / 2)
            for start = first, last, part do
                settle(instances, numbers, start, math.min(start + part - 1, last))
            end
        end
    end

    local function work()
        while read < lines and not failed and not gone do
            local instances, numbers = group()
            if #instances > 0 then
                settle(instances, numbers, 1, #instances)
            end
        end
    end

    local threads = {}
    for i = 1, math.min(settings.records_in_flight, lines) do
        threads[i] = ngx.thread.spawn(work)
    end
    for _, thread in ipairs(threads) do
        ngx.thread.wait(thread)
    end
    if gone then
        return ngx.exit(499)
    elseif failed and failed.body then
        return responses.send(failed.status, "application/json", failed.body)
    elseif failed then
        return responses.fail(failed.status, failed.why)
    end
    return responses.send(200, "application/jsonlines", answers)
end

return M
