-- text/csv, by RFC 4180, as the instances of a predict request. A cell that is valid JSON is copied
-- as it is; only others are looked at.

local cells = require "gateway.cells"
local csv_columns = require "gateway.csv_columns"
local ffi = require "ffi"
local number_table = require "gateway.number_table"
local Writer = require "gateway.writer"

local Rows = setmetatable({}, Writer)
Rows.__index = Rows
local LONGEST = 4096 -- bytes of a number
local SAFE = 200 -- bytes of one that is not too large, whatever its digits: the tables know e99 at most
local QUOTE, COMMA, LF, CR, ZERO = 34, 44, 10, 13, 48
local MOST_COLUMNS = 200000
local ODD, AT_COMMA, AT_LINE_END, AT_CR, FIRST = number_table.ODD, number_table.AT_COMMA,
    number_table.AT_LINE_END, number_table.AT_CR, number_table.FIRST
local PAUSE_EVERY = 5000 -- cells that are read singly, so that other requests are handled in between

-- The cell at this position: where its text begins and ends, whether it is quoted, what comes after
-- it and where, and how many line ends it has. Or nil and why.
local function find_cell(p, at, stop)
    local first, lines, is_quoted = at, 0, at < stop and p[at] == QUOTE
    if is_quoted then
        at = at + 1
        while at < stop and (p[at] ~= QUOTE or at + 1 < stop and p[at + 1] == QUOTE) do
            if p[at] == LF then lines = lines + 1 end
            at = at + (p[at] == QUOTE and 2 or 1)
        end
        if at >= stop then return nil, "a quote is not closed" end
        at = at + 1
    else
        while at < stop and p[at] ~= COMMA and p[at] ~= LF do at = at + 1 end
    end
    local last = at
    if at < stop and p[at] == CR and at + 1 < stop and p[at + 1] == LF then at = at + 1 end
    if not is_quoted and last > first and p[last - 1] == CR and (at == stop or p[at] == LF) then
        last = last - 1
    end
    if at < stop and p[at] ~= COMMA and p[at] ~= LF then
        if not (p[at] == CR and at + 1 == stop) then return nil, "text follows a closing quote" end
        at = at + 1
    end
    local ending = at < stop and p[at] == COMMA and AT_COMMA or AT_LINE_END
    if is_quoted then first, last = first + 1, last - 1 end
    return first, last, is_quoted, ending, math.min(at + 1, stop), lines
end

local function text_of(p, first, last, is_quoted)
    local text = ffi.string(p + first, last - first)
    return is_quoted and text:gsub('""', '"') or text
end

-- Writes the cell at this position, of any form. Returns what comes after it and where, or nil.
function Rows:write_cell(at, column)
    local first, last, is_quoted, ending, next_at, lines = find_cell(self.p, at, self.stop)
    self.odd = self.odd + 1
    if self.pauses and self.odd % PAUSE_EVERY == 0 then ngx.sleep(0.001) end
    local where = self.line + self.inner_lines
    if not first then
        self.why = ("line %d, column %d: %s"):format(where, column, last)
        return nil
    end
    self.inner_lines = self.inner_lines + lines
    local one = self.columns[column]
    if one.dtype == "DT_STRING" then
        self:write_string(self.p, first, last, is_quoted)
        return ending, next_at
    end
    local text = text_of(self.p, first, math.min(last, first + LONGEST), is_quoted)
    local value, why = nil, "is too long"
    if last - first <= LONGEST then value, why = cells.value(text, one.dtype) end
    if not value then
        self.why = cells.wrong(where, column, text, why, one.name, one.dtype)
        return nil
    end
    self:write(value)
    return ending, next_at
end

-- Writes the row at this position; false if it is malformed.
function Rows:write_row()
    local p, stop, out, n, at = self.p, self.stop, self.out, self.n, self.at
    local columns, count, column, ending = self.columns, #self.columns, 0, AT_COMMA
    self.inner_lines = 0
    while ending == AT_COMMA do
        column = column + 1
        if column > count then
            self.why = ("line %d has more columns than the first line, which has %d"):format(
                self.line, count)
            return false
        end
        if n >= self.FULL then n = self:flush(n) end
        local one = columns[column]
        ffi.copy(out + n, one.before, #one.before)
        n = n + #one.before
        local start, number, numbers = at, n, one.numbers
        ending = ODD
        if numbers then
            local next_state, place, growth, character = numbers.next_state, numbers.place,
                numbers.growth, numbers.character
            local state, bound = FIRST, math.min(stop, at + SAFE)
            out[n], out[n + 1] = ZERO, ZERO
            while state >= FIRST and at < bound do
                local i = 256 * state + p[at]
                out[n + place[i]] = character[i]
                state, at, n = next_state[i], at + 1, n + growth[i]
            end
            if state == AT_CR then
                ending = at < stop and p[at] == LF and AT_LINE_END or ODD
                at = at + 1
            elseif state < FIRST then
                ending = state
            elseif at == stop and numbers.ends[state] then
                ending = AT_LINE_END
            end
        end
        if ending == ODD then
            self.n = number
            ending, at = self:write_cell(start, column)
            if not ending then return false end
            n = self.n
        end
    end
    if column ~= count then
        self.why = ("line %d has %d column%s; the first line has %d"):format(self.line, column,
            column == 1 and "" or "s", count)
        return false
    end
    ffi.copy(out + n, self.after, #self.after)
    self.n, self.at, self.line = n + #self.after, at, self.line + 1 + self.inner_lines
    return true
end

-- Sets the columns by the row at this position, and passes over it if it is a header; false if that
-- is not possible.
function Rows:plan()
    local at, row, ending, lines = self.at, {}, AT_COMMA, 0
    while ending == AT_COMMA do
        local first, last, is_quoted, inner
        first, last, is_quoted, ending, at, inner = find_cell(self.p, at, self.stop)
        if not first then
            self.why = ("line %d, column %d: %s"):format(self.line + lines, #row + 1, last)
            return false
        end
        row[#row + 1] = text_of(self.p, first, math.min(last, first + LONGEST), is_quoted)
        lines = lines + inner
        if self.pauses and #row % PAUSE_EVERY == 0 then ngx.sleep(0.001) end
        if #row > MOST_COLUMNS then
            self.why = ("line %d has more than %d columns"):format(self.line, MOST_COLUMNS)
            return false
        end
    end
    local header, columns, after, fits = csv_columns.of(self.signature, row, self.takes_images)
    if header == nil then
        self.why = columns
        return false
    end
    self.columns, self.after, self.fits = columns, after, fits
    for _, column in ipairs(columns) do column.numbers = number_table.of(column.dtype) end
    if header then
        self.why = ("line %d is a header"):format(self.line)
        self.at, self.line = at, self.line + 1 + lines
    end
    return true
end

function Rows:has_more() return self.at < self.stop end

-- The instances of all rows, separated by commas, as a list of strings, and their size in bytes.
-- nil if a row is malformed. Empty lines at the end are none.
function Rows:all()
    self.pauses = true
    while self.stop > self.at and (self.p[self.stop - 1] == LF or self.p[self.stop - 1] == CR) do
        self.stop = self.stop - 1
    end
    if not self:plan() then return nil end
    while self.at < self.stop do
        if not self:write_row() then return nil end
        if self.at < self.stop then self:write "," end
    end
    return self:finish()
end

-- The instance of the next row. nil if it is malformed or a header; then the rest of its line is
-- passed over.
function Rows:next()
    local at, line = self.at, self.line
    self.parts, self.n = {}, 0
    if self.columns or self:plan() then
        if self.at > at then return nil end -- a header
        if self:write_row() then
            if not self.fits then self.columns = nil end -- whatever the next rows are
            return table.concat((self:finish()))
        end
    end
    while at < self.stop and self.p[at] ~= LF do at = at + 1 end
    self.at, self.line = math.min(at + 1, self.stop), line + 1
    return nil
end

-- The rows of a text that is where `p` points. Where a row cannot be read, `why` says why.
return function(p, stop, signature, takes_images)
    local self = Writer.new(Rows)
    self.p, self.stop, self.line = p, stop, 1
    self.at = stop > 2 and p[0] == 239 and p[1] == 187 and p[2] == 191 and 3 or 0
    self.signature, self.takes_images, self.odd = signature, takes_images, 0
    return self
end
