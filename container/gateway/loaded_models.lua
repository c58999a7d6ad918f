-- The models of a multi-model endpoint. The model servers read the file models.config again every
-- second; a model that is added to it or left out is loaded or unloaded.

local cjson = require "cjson.safe"
local engines = require "gateway.engines"
local hints = require "gateway.hints"
local metadata = require "gateway.models"
local readiness = require "gateway.readiness"
local settings = require "settings"

local M = {}
local FOLDER = ngx.config.prefix() .. "multi/"
local FIND_SECONDS, LOAD_SECONDS, UNLOAD_SECONDS = 60, 1800, 300
local POLL_SECONDS = 0.05
local GRAPH_BYTES = 64 * 2 ^ 20 -- of the toy detector, whose files have 2 MB; found by measuring
local LINK_SECONDS = 5 -- until a model server has certainly read the file without the model

-- By name: name, url, path (at a model server), folder (of its links), versions, needs (bytes), busy
-- (requests), and state: loading, loaded or unloading.
local models = {}
-- How often a model of this name could not be loaded. A model server never forgets the state of a
-- name, so that after a failure the model is loaded with another one, NAME/2.
local failures = {}
local newest = 0 -- number of a request to the supervisor

local function write(name, text)
    local file = assert(io.open(FOLDER .. name .. ".tmp", "w"))
    assert(file:write(text))
    assert(file:close())
    assert(os.rename(FOLDER .. name .. ".tmp", FOLDER .. name))
end

local function octal(character) return ("\\%03o"):format(character:byte()) end

-- Writes models.config, and for a worker that takes over after a crash, loaded.json.
local function save()
    local entries, loaded = {}, {}
    for _, model in pairs(models) do
        if model.state == "loaded" then loaded[#loaded + 1] = model end
        if model.state ~= "unloading" and model.path then
            entries[#entries + 1] = ('config { name: "%s" base_path: "%s" model_platform: "tensorflow" ' ..
                "model_version_policy { all {} } }\n"):format(
                model.engine_name:gsub('[%c"\\\127-\255]', octal), model.folder)
        end
    end
    write("loaded.json", cjson.encode {models = loaded, failures = failures})
    write("models.config", "model_config_list {\n" .. table.concat(entries) .. "}\n")
end

-- Whether it could. With a full disk the model servers keep the models that they have.
local function try_to_save()
    local ok, why = pcall(save)
    if not ok then ngx.log(ngx.CRIT, why) end
    return ok, why
end

function M.start()
    local file = settings.multi_model and io.open(FOLDER .. "loaded.json")
    if not file then return end
    local before = cjson.decode(file:read "*a")
    file:close()
    failures, newest = before.failures, math.floor(1000 * ngx.now()) -- a number that was not used yet
    for _, model in ipairs(before.models) do
        model.busy, models[model.name] = 0, model
    end
    save() -- without those that were being loaded
end

-- Names in order, and the models by name.
function M.all()
    local names = {}
    for name in pairs(models) do names[#names + 1] = name end
    table.sort(names)
    return names, models
end

-- The model, once nothing changes about it; nil if there is none of this name.
local function settled(name)
    while models[name] and models[name].state ~= "loaded" do ngx.sleep(POLL_SECONDS) end
    return models[name]
end

function M.get(name)
    local model = models[name]
    return model and model.state == "loaded" and model or nil
end

-- Lets the supervisor search the model's folder. Returns its response, or nil, a status and the reason.
local function ask_supervisor(name, url)
    write(name .. ".find", url)
    local give_up, file = ngx.now() + FIND_SECONDS, nil
    repeat
        ngx.sleep(POLL_SECONDS)
        file = io.open(FOLDER .. name .. ".found")
    until file or ngx.now() > give_up or readiness.is_stopping()
    for _, ending in ipairs {".found", ".find", ".finding"} do os.remove(FOLDER .. name .. ending) end
    if not file then
        return nil, 503, readiness.is_stopping() and "the container is stopping" or
            ("%s: not searched within %d s; retry, or give a folder with fewer files"):format(url,
                FIND_SECONDS)
    end
    local text = file:read "*a"
    file:close()
    return text
end

-- Finds the versions of a model, for which nginx's worker may not have permission. Returns a status
-- and the reason if there is no model.
local function find(model)
    newest = newest + 1
    local name = tostring(newest)
    local text, failed, reason = ask_supervisor(name, model.url)
    if not text then return failed, reason end
    local status, why = text:match "^(%d%d%d) ([^\n]*)"
    if status ~= "200" then return tonumber(status), why end
    local bytes, free, folder, versions = why:match "^(%d+) (%d+) (%S+) (.*)"
    model.folder, model.versions, model.needs = FOLDER .. name .. "/" .. folder, {}, 2 * bytes + GRAPH_BYTES
    model.links = FOLDER .. name
    for version in versions:gmatch "%d+" do model.versions[#model.versions + 1] = version end
    -- What others that are being loaded will take is still free now.
    local left = tonumber(free) - settings.memory_bytes / 10
    for _, other in pairs(models) do
        if other.state == "loading" and other ~= model then left = left - (other.needs or 0) end
    end
    if model.needs > left then
        return 507, ("%s: needs about %d MB (twice its files and 64 MB), %d MB are free; unload other models")
            :format(model.name, model.needs / 2 ^ 20, math.max(0, left) / 2 ^ 20)
    end
end

-- Between two requests for a model's state. Those for all models together are at most 100 a second, so
-- that a model server has time for others.
local function pause()
    local changing = 0
    for _, model in pairs(models) do
        if model.state ~= "loaded" then changing = changing + 1 end
    end
    ngx.sleep(POLL_SECONDS * math.max(1, changing / 5))
end

-- Calls `visit` with each version that the model servers know; false if one does not respond.
local function each_version(model, visit)
    for _, engine in ipairs(engines.all) do
        local reply = engines.exchange(engine, model.path, 0.5, 5)
        local told = reply.body and cjson.decode(reply.body)
        if not told then return false end
        for _, version in ipairs(told.model_version_status or {}) do visit(version) end
    end
    return true
end

-- Returns a status and the reason if the model cannot be loaded. A version in state END without an
-- error is one that was unloaded earlier.
local function wait_until_available(model)
    local give_up = ngx.now() + LOAD_SECONDS
    repeat
        pause()
        local available, status, why = 0, nil, nil
        each_version(model, function(version)
            if version.state == "AVAILABLE" then available = available + 1 end
            local code = version.status and version.status.error_code or "OK"
            if version.state == "END" and code ~= "OK" then
                status = code == "RESOURCE_EXHAUSTED" and 507 or 400
                why = ("%s: version %s cannot be loaded: %s: %s"):format(model.name, version.version,
                    code, version.status.error_message)
            end
        end)
        if status then return status, why end
        if available == #model.versions * #engines.all then return nil end
    until ngx.now() > give_up
    return 504, ("%s: not loaded within %d s; see the model server's log"):format(model.name, LOAD_SECONDS)
end

local function wait_until_unloaded(model)
    local give_up = ngx.now() + UNLOAD_SECONDS
    repeat
        local is_left = false
        local all = each_version(model, function(version) is_left = is_left or version.state ~= "END" end)
        if all and not is_left then return nil end
        pause()
    until ngx.now() > give_up
    return 504, ("%s: not unloaded within %d s; see the model server's log"):format(model.name,
        UNLOAD_SECONDS)
end

local function remove_links(_, model)
    for _, version in ipairs(model.versions) do os.remove(model.folder .. "/" .. version) end
    os.remove(model.folder)
    os.remove(model.links)
end

local function forget(model, failed)
    models[model.name] = nil
    if failed then failures[model.name] = (failures[model.name] or 1) + 1 end
    if model.path then
        metadata.forget(model.path)
        try_to_save()
    end
    if model.links then ngx.timer.at(LINK_SECONDS, remove_links, model) end
end

local function bring_up(model)
    local status, why = find(model)
    if status then return status, why end
    local failed = failures[model.name]
    model.engine_name = failed and model.name .. "/" .. failed or model.name
    model.path = "/v1/models/" .. ngx.escape_uri(model.engine_name)
    save()
    return wait_until_available(model)
end

-- Returns when the model is available, or else a status and the reason; then nothing of it is left.
function M.load(name, url)
    if settled(name) then return 409, name .. ": already loaded; unload it first to load another" end
    local model = {name = name, url = url, state = "loading", busy = 0}
    models[name] = model
    local ok, status, why = pcall(bring_up, model)
    if ok and not status then
        model.state = "loaded"
        try_to_save()
        hints.prepare(model.path)
        return nil
    end
    forget(model, model.path)
    if not ok then return 500, name .. ": cannot be loaded: " .. status end
    return status, why
end

-- Returns when the requests that use the model are completed and its memory is free.
function M.unload(name)
    local model = settled(name)
    if not model then return 404 end
    model.state = "unloading"
    while model.busy > 0 do ngx.sleep(POLL_SECONDS) end
    local ok, reason = try_to_save()
    if not ok then
        model.state = "loaded"
        return 500, name .. ": cannot be unloaded: " .. reason
    end
    local status, why = wait_until_unloaded(model)
    forget(model, status)
    return status, why
end

return M
