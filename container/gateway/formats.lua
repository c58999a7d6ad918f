-- The formats of bodies and responses, by Content-Type and Accept.

local M = {}

local KINDS = {["application/json"] = "json", ["application/x-image"] = "builtin"}
for name in ("jsonlines jsons jsonl ndjson"):gmatch "%S+" do
    KINDS["application/" .. name], KINDS["application/x-" .. name] = "lines", "lines"
end
for name in ("jpeg jpg pjpeg png gif bmp x-ms-bmp webp"):gmatch "%S+" do
    KINDS["image/" .. name] = "picture"
end
local ACCEPTED = {
    ["*/*"] = "json", ["application/*"] = "json", ["application/json"] = "json", ["image/*"] = "drawn",
    ["image/jpeg"] = "drawn", ["image/jpg"] = "drawn", ["image/pjpeg"] = "drawn",
}

local function media_type(text) return text:lower():match "^[^;]*":match "^%s*(.-)%s*$" end

-- json, picture, builtin, lines or unknown. Without a type it is JSON, as AWS's clients send it.
function M.of_body()
    local kind = media_type(ngx.var.content_type or "")
    return kind == "" and "json" or KINDS[kind] or "unknown"
end

-- json, drawn, lines or none. Weights are ignored; an image only comes before JSON if it is first.
function M.of_response()
    local accept = ngx.var.http_accept or ""
    local has, first = {}, accept == "" and "json" or nil
    for one in accept:gmatch "[^,]+" do
        local kind = media_type(one)
        local name = ACCEPTED[kind] or KINDS[kind] == "lines" and "lines" or "none"
        first, has[name] = first or name, true
    end
    return first == "drawn" and first or has.json and "json" or has.lines and "lines" or
        has.drawn and "drawn" or first
end

return M
