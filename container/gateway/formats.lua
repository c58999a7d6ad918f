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
    ["text/csv"] = "csv", ["application/x-npy"] = "npy",
}

local function media_type(text) return text:lower():match "^[^;]*":match "^%s*(.-)%s*$" end

-- json, picture, builtin, lines, csv, npy or unknown. Without a type it is JSON, as AWS's clients
-- send it, and with the type that curl -d sends of its own accord.
function M.of_body()
    local kind = media_type(ngx.var.content_type or "")
    return kind == "" and "json" or KINDS[kind] or "unknown"
end

-- The formats that the client accepts, the one to prefer first: json, drawn, lines, csv, npy or
-- none. Weights are ignored. Also whether it accepts anything.
function M.of_response()
    local accept = ngx.var.http_accept or ""
    local has, order, anything = {}, {accept == "" and "json" or nil}, true
    for one in accept:gmatch "[^,]+" do
        local kind = media_type(one)
        local name = ACCEPTED[kind] or KINDS[kind] == "lines" and "lines" or "none"
        order[1], has[name], anything = order[1] or name, true, anything and kind == "*/*"
    end
    for _, name in ipairs {"json", "lines", "csv", "npy", "drawn"} do
        if has[name] then order[#order + 1] = name end
    end
    return order, anything
end

return M
