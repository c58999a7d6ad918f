-- The formats of bodies and responses, by Content-Type and Accept.

local M = {}

local KINDS = {["application/json"] = "json", ["application/x-www-form-urlencoded"] = "json",
    ["application/x-image"] = "builtin", ["text/csv"] = "csv", ["application/x-npy"] = "npy"}
for name in ("jsonlines jsons jsonl ndjson"):gmatch "%S+" do
    KINDS["application/" .. name], KINDS["application/x-" .. name] = "lines", "lines"
end
for name in ("jpeg jpg pjpeg png gif bmp x-ms-bmp webp"):gmatch "%S+" do
    KINDS["image/" .. name] = "picture"
end
local ACCEPTED = {
    ["*/*"] = "json", ["application/*"] = "json", ["application/json"] = "json", ["image/*"] = "drawn",
    ["image/jpeg"] = "drawn", ["image/jpg"] = "drawn", ["image/pjpeg"] = "drawn",
    ["text/*"] = "csv", ["text/csv"] = "csv", ["application/x-npy"] = "npy",
}
local NAMES = {json = "application/json", lines = "application/jsonlines", csv = "text/csv",
    npy = "application/x-npy", drawn = "image/jpeg"}

local function media_type(text) return text:lower():match "^[^;]*":match "^%s*(.-)%s*$" end

-- json, picture, builtin, lines, csv, npy or unknown. Without a type it is JSON, as AWS's clients
-- send it, and with the type that curl -d sends of its own accord.
function M.of_body()
    local kind = media_type(ngx.var.content_type or "")
    return kind == "" and "json" or KINDS[kind] or "unknown"
end

-- The formats that the client accepts, the one to prefer first: json, drawn, lines, csv, npy or
-- none. Also whether it accepts anything.
function M.of_response()
    local all, anything = {}, true
    for one in (ngx.var.http_accept or ""):lower():gmatch "[^,]+" do
        local kind, weight = media_type(one), tonumber(one:match ";%s*q%s*=%s*([%d.]+)") or 1
        if kind ~= "" and weight > 0 then
            local name = ACCEPTED[kind] or KINDS[kind] == "lines" and "lines" or "none"
            all[#all + 1] = {name = name, weight = weight, place = #all}
        end
        anything = anything and (kind == "" or kind == "*/*")
    end
    if anything then return {"json"}, true end
    table.sort(all, function(a, b)
        return a.weight > b.weight or a.weight == b.weight and a.place < b.place
    end)
    for i, one in ipairs(all) do all[i] = one.name end
    return all, false
end

-- The content types of those formats in `routes`, in words.
function M.names(routes)
    local names = {}
    for _, format in ipairs {"json", "lines", "csv", "npy", "drawn"} do
        if routes[format] then names[#names + 1] = NAMES[format] end
    end
    return (table.concat(names, ", "):gsub(", ([^,]*)$", " or %1"))
end

return M
