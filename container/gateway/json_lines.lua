-- JSON Lines, and the lines of CSV in a batch job: one line in the response for each record, as
-- JSON or as CSV. Several records are one request to a model server; what it rejects is halved and
-- sent again, so that an invalid record costs its own line.

local admission = require "gateway.admission"
local cjson = require "cjson.safe"
local engines = require "gateway.engines"
local graph_errors = require "gateway.graph_errors"
local json_text = require "gateway.json_text"
local models = require "gateway.models"
local outputs = require "gateway.outputs"
local responses = require "gateway.responses"
local settings = require "settings"
local tensors = require "gateway.tensors"
local text = require "gateway.text"
local Writer = require "gateway.writer"
local byte, find, sub = string.byte, string.find, string.sub

local M = {}
local MOST, MOST_OF_CSV = 50000, 1000000 -- records
local GROUP_RECORDS, GROUP_BYTES = 256, 1000000
local PAUSE_EVERY = 10000000 -- bytes, so that other requests are handled in between
local FATAL = {[404] = true, [502] = true, [503] = true, [504] = true, [507] = true} -- no record causes these
local HEAD, TAIL = '{"instances":[', "]}"
local NOT_JSON = 'line %d is not JSON; send one record per line: {"b64": "..."}, a base64 string, or ' ..
    'an instance for the model'

-- Fails if there is none, or more than `most`.
local function count_lines(p, stop, most)
    local lines = stop > 0 and p[stop - 1] ~= 10 and 1 or 0
    for first = 0, stop - 1, PAUSE_EVERY do
        for at = first, math.min(first + PAUSE_EVERY, stop) - 1 do
            if p[at] == 10 then lines = lines + 1 end
        end
        if first > 0 then ngx.sleep(0.001) end
    end
    if lines == 0 then
        return responses.fail(400, "the body has no records; send one line per record")
    elseif lines > most then
        return responses.fail(413, ("the body has more than %d records; split it (Batch Transform: " ..
            "a smaller MaxPayloadInMB)"):format(most))
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

-- How the response has a prediction, an error, and the reply for a record that is not one
-- prediction.
local function json_row(writer, p, at, last)
    writer:write '{"predictions": ['
    outputs.copy_on_one_line(writer, p, at, last)
    writer:write "]}\n"
end
local FORMATS = {
    lines = {type = "application/jsonlines", write_row = json_row,
        error = function(why) return '{"error":' .. text.quoted(why) .. "}\n" end,
        other = function(reply) return on_one_line(reply) .. "\n" end},
    csv = {type = "text/csv", write_row = outputs.write_csv_row,
        error = function(why)
            return outputs.quoted("error: " .. outputs.without_line_ends(why)) .. "\n"
        end,
        other = function() return "error: the model did not return one row\n" end},
}

-- The lines of a reply with several predictions; nil if it has another number of them.
local function lines_of(reply, count, format)
    local found, writer = {}, Writer.new()
    writer.one_line = true
    if not find(reply, '^%s*{%s*"predictions"') then return nil end
    outputs.each_row(reply, "", function(p, at, last)
        format.write_row(writer, p, at, last)
        found[#found + 1] = table.concat((writer:finish()))
        writer.parts = {}
    end)
    return #found == count and found or nil
end

local function error_of(reply)
    local told = cjson.decode(reply)
    return type(told) == "table" and type(told.error) == "string" and
        graph_errors.sentence(told.error) or on_one_line(reply)
end

-- The lines in long strings: hundreds of thousands of short ones are slow to send.
local function joined(answers, count)
    local parts = {}
    for first = 1, count, 10000 do
        parts[#parts + 1] = table.concat(answers, "", first, math.min(first + 9999, count))
        ngx.sleep(0.001)
    end
    return parts
end

-- `source` has the number of lines, or somewhat more, and the next record of a line, or nil and
-- why.
local function respond(request, source, format)
    local read, answers, answered, rejected, failed, gone = 0, {}, 0, 0, nil, false
    local workers = math.min(settings.records_in_flight, source.lines)
    local most = math.min(math.ceil(source.lines / workers), GROUP_RECORDS)
    ngx.on_abort(function()
        gone = true
        return request.slots == 0 and ngx.exit(499)
    end)

    -- Where many records are invalid, halving takes longer than sending each by itself.
    local function many_rejected() return rejected > 64 + answered / 16 end

    local function answer(number, line) answers[number], answered = line, answered + 1 end

    -- The next records, and the numbers of their lines.
    local function group()
        local instances, numbers, size = {}, {}, 0
        local limit = many_rejected() and 1 or most
        while source.has_more() and #instances < limit and size < GROUP_BYTES do
            read = read + 1
            local number = read
            local record, why = source.next(number)
            if record then
                instances[#instances + 1], numbers[#numbers + 1] = record, number
                size = size + #record
            else
                answers[number] = format.error(why)
                if number % GROUP_RECORDS == 0 then ngx.sleep(0.001) end -- if many are malformed
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
        local found = reply.status == 200 and lines_of(reply.body, count, format)
        if found or count == 1 then
            for i = 1, count do
                answer(numbers[first + i - 1], found and found[i] or
                    reply.status == 200 and format.other(reply.body) or
                    format.error(error_of(reply.body)))
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
            while source.has_more() and not failed and not gone do
                local instances, numbers = group()
                if #instances > 0 then settle(instances, numbers, 1, #instances) end
            end
        end)
    end
    for _, thread in ipairs(threads) do assert(ngx.thread.wait(thread)) end
    if gone then return ngx.exit(499) end
    if not failed then return responses.send(200, format.type, joined(answers, read)) end
    if failed.why then return responses.fail(failed.status, failed.why) end
    return responses.send(failed.status, "application/json", failed.body)
end

local function json_source(request)
    local body = ngx.req.get_body_data() or ""
    local p, stop = json_text.of(body)
    local at = find(body, "^\239\187\191") and 4 or 1 -- a byte order mark is no record
    return {lines = count_lines(p, stop, MOST), has_more = function() return at <= #body end,
        next = function(number)
            local last = find(body, "\n", at, true) or #body + 1
            local line = trimmed(body, at, last - 1)
            at = last + 1
            local record = instance(line, request)
            return record, not record and NOT_JSON:format(number)
        end}
end

local function csv_source(request)
    local rows = tensors.csv_rows(request)
    return {lines = count_lines(rows.p, rows.stop, MOST_OF_CSV),
        has_more = function() return rows:has_more() end,
        next = function() return rows:next(), rows.why end}
end

function M.lines(request) return respond(request, json_source(request), FORMATS.lines) end
function M.lines_to_csv(request) return respond(request, json_source(request), FORMATS.csv) end
function M.csv_to_lines(request) return respond(request, csv_source(request), FORMATS.lines) end
function M.csv_to_csv(request) return respond(request, csv_source(request), FORMATS.csv) end

return M
