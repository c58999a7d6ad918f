# Finds the models, and writes the folder from which nginx and the model servers run. Sourced by serve.
# shellcheck shell=bash
# shellcheck disable=SC2034  # used by other files
# shellcheck disable=SC2154  # set by other files

# Sets `run`, a folder with nginx.conf and what it includes, links to the models, and the configuration
# of the model servers: a few kilobytes, not changed later.
write_run_folder() {
    run=$(mktemp -d "$(realpath "${TMPDIR:-/tmp}")/petbox.XXXXXX")
    chmod 755 "$run" # nginx's workers do not run as root
    cp -R -- "$here"/nginx.conf "$here"/gateway "$run"
    write_modules >"$run/modules.conf"
    echo "listen $listen;" >"$run/listen.conf"
    write_limits >"$run/settings.conf"
    write_settings >"$run/settings.lua"
    : >"$run/drained" # the gateway writes into it
    chmod 666 "$run/drained"
    if ((page)); then
        write_page
    fi
    write_models >"$run/models.config"
    write_batching >"$run/batching.config"
    # Workers keep the memory of a large request: getting it from the kernel again costs more than
    # copying the request.
    gateway=(env MALLOC_TRIM_THRESHOLD_=33554432 MALLOC_MMAP_THRESHOLD_=33554432
        nginx -p "$run" -c "$run/nginx.conf" -e stderr)
    # Root without capabilities cannot run its workers as another user.
    if ((EUID == 0 && (16#$(sed -n 's/^CapEff:\t//p' /proc/self/status) & 0xc1) != 0xc1)); then
        gateway+=(-g 'user root;')
    fi
}

# None where Lua is built into nginx, as in OpenResty.
write_modules() {
    local file
    while read -r _ file; do
        [[ ! -e ${file%;} ]] || echo "load_module $file"
    done < <(grep '^load_module' "$here/modules.conf")
}

write_limits() {
    echo "client_max_body_size ${body_limit}m;"
    echo "client_body_buffer_size $((body_limit * 5 / 4 + 1))m;" # and the framing of a chunked body
}

# settings.lua with the values from the environment; container/settings.lua says what each is for.
write_settings() {
    local all=$((in_flight * server_count)) megabytes=$((payload < 100 ? payload : 100)) bool=(false true)
    cat <<END
return {
    engines = $(lua_list "${ports[@]/#/127.0.0.1:}"),
    slots = $all,
    wait_seconds = $wait_seconds,
    engine_seconds = $engine_seconds,
    payload_megabytes = $megabytes, -- Batch Transform sends at most 100 MB at the same time
    concurrent_transforms = $((100 / megabytes)),
    body_megabytes = $body_limit,
    records_in_flight = $((batch || all < 8 ? all : 8)), -- in a batch job there are no other requests
    memory_bytes = $memory_bytes,
    models = $(lua_list "${names[@]}"),
    batching = ${bool[batching]},
    strings = "$strings",
    page = ${bool[page]},
    metrics_namespace = "$namespace",
}
END
}

lua_list() { # STRING...
    local list
    printf -v list '"%s", ' "$@"
    echo "{${list%, }}"
}

# The page, and the class names of the default model if it has them. Copied, because nginx's workers
# may not have permission to read the originals.
write_page() {
    local map
    map=$({ find -L "${folder[${names[0]}]}" -maxdepth 3 -path '*/assets/label_map.pbtxt' -readable \
        2>/dev/null || true; } | sort -V | tail -n 1) # the newest version's
    cp -R -- "$here/page" "$run"
    cat -- "${map:-/dev/null}" >"$run/page/label_map.pbtxt"
    chmod -R a+rX "$run/page"
}

# nginx's workers do not run as root, and read in the folder while they serve.
check_access() {
    local folder=$run
    ((EUID == 0)) && [[ ${gateway[*]} != *'user root'* ]] || return 0
    while folder=$(dirname "$folder") && [[ $folder != / ]]; do
        if [[ $(stat -c %A "$folder") != *[xt] ]]; then
            say "TMPDIR=${TMPDIR:-/tmp}: nginx's workers cannot enter $folder; chmod o+x it, or choose another TMPDIR"
            exit 1
        fi
    done
}

# Each model as a link with its name, so that no path needs quoting.
write_models() {
    local name
    mkdir "$run/models"
    echo "model_config_list {"
    for name in "${names[@]}"; do
        if [[ -n ${versions[$name]:-} ]]; then
            ln -s "${folder[$name]}" "$run/models/$name"
        else
            mkdir "$run/models/$name"
            ln -s "${folder[$name]}" "$run/models/$name/1"
        fi
        echo "  config {"
        echo "    name: \"$name\""
        echo "    base_path: \"$run/models/$name\""
        echo "    model_platform: \"tensorflow\""
        # all, so that a request can name one; by number, so that a half-copied one is ignored
        echo "    model_version_policy { specific { versions: ${versions[$name]:-1} } }"
        echo "  }"
    done
    echo "}"
}

write_batching() {
    echo "max_batch_size { value: $batch_size }"
    echo "batch_timeout_micros { value: $batch_timeout }"
    echo "num_batch_threads { value: $batch_threads }"
    echo "max_enqueued_batches { value: $batches }"
}

# Sets `command`, which starts a model server.
model_server_command() { # INDEX
    command=()
    if ((${#gpus[@]})); then
        command+=(env "CUDA_VISIBLE_DEVICES=${gpus[$1 % ${#gpus[@]}]}")
    fi
    command+=(
        "${model_server[@]}"
        --rest_api_port="${ports[$1]}"
        --rest_api_num_threads=$((in_flight + 16)) # so that some are always left for /ping
        --rest_api_timeout_in_ms=$((engine_seconds * 1000))
        --port=0                                   # gRPC on a socket only, so that it uses no port
        --grpc_socket_path="$run/grpc-$1"
        --model_config_file="$run/models.config"
        --max_num_load_retries=0 # report a failed load at once, not after five minutes
        --tensorflow_intra_op_parallelism="$intra_op"
        --tensorflow_inter_op_parallelism="$inter_op"
    )
    if ((batching)); then
        command+=(--enable_batching=true --batching_parameters_file="$run/batching.config")
    fi
}

# Sets `names`, the default model first; for each its `folder`, and its `versions` in the syntax of the
# model server's configuration, empty if the folder itself is the SavedModel. Rejects duplicate names
# and names that do not fit into a URL.
find_models() {
    local file at name number root
    declare -gA folder=() versions=()
    find_saved_models
    root=$model_root
    if [[ ${root##*/} =~ ^[0-9]+$ && ${saved_models[0]%/*} == "$root" ]]; then
        root=${root%/*} # PETBOX_MODELS names one version of a model
    fi
    for file in "${saved_models[@]}"; do
        number='' at=${file%/*}
        if [[ $at != "$root" && ${at##*/} =~ ^[0-9]{1,18}$ ]]; then
            number=$((10#${at##*/})) # 00007 is version 7
            at=${at%/*}
        fi
        name=${at##*/}
        [[ $at != "$root" ]] || name=model
        [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] ||
            reject_models "$at: not a valid model name; use letters, digits and . _ -"
        if [[ -n ${folder[$name]:-} ]] &&
            [[ ${folder[$name]} != "$at" || -z $number || -z ${versions[$name]:-} ]]; then
            reject_models "two models are named $name: ${folder[$name]} and $at"
        fi
        if [[ -n $number && " ${versions[$name]:-} " == *" $number "* ]]; then
            reject_models "two folders in $at are version $number"
        fi
        folder[$name]=$at
        [[ -z $number ]] || versions[$name]+="${versions[$name]:+ versions: }$number"
    done
    default_model=${default_model:-$(sorted "${!folder[@]}" | head -n 1)}
    if [[ -z ${folder[$default_model]:-} ]]; then
        reject_models "SAGEMAKER_TFS_DEFAULT_MODEL_NAME=$default_model: there is no model of this name"
    fi
    mapfile -t names < <(echo "$default_model" && sorted "${!folder[@]}" | grep -vxF "$default_model")
}

sorted() { printf '%s\n' "$@" | LC_ALL=C sort; }

# Sets `saved_models`, and `model_root`, the first of `model_roots` that is not empty: a model that was
# provided but cannot be read is never replaced by the one in the image.
find_saved_models() {
    for model_root in "${model_roots[@]}"; do
        model_root=$(realpath -ms -- "$model_root")
        # code/ is what AWS's image would run
        mapfile -d '' saved_models < <(find -L "$model_root" -mindepth 1 -maxdepth 6 \
            -name code -prune -o `# which is for AWS's image` \
            -type f \( -name saved_model.pb -o -name saved_model.pbtxt \) -print0 2>/dev/null | LC_ALL=C sort -z)
        if ((${#saved_models[@]})); then
            return
        fi
        if [[ -n $(find -L "$model_root" -mindepth 1 2>/dev/null | head -n 1) ]] ||
            [[ -d $model_root && ! -r $model_root ]]; then
            reject_models "no SavedModel in $model_root"
        fi
    done
    reject_models "no SavedModel in ${model_roots[*]}"
}

reject_models() { # REASON: prints it with the actual and the expected files, and exits
    say "$1"
    say "found:"
    find -L "${model_roots[@]}" -maxdepth 4 2>&1 | LC_ALL=C sort | head -n 30 | sed 's/^/serve:   /' >&2 || true
    say "expected, in ${model_roots[0]}:"
    say "  1/saved_model.pb                 one model and its version number"
    say "  NAME/1/saved_model.pb            one or several models by name"
    say "  export/Servo/1/saved_model.pb    as exported by TensorFlow's estimators"
    say "  saved_model.pb                   without a version folder; served as version 1"
    exit 1
}
