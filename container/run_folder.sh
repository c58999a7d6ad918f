# Finds the models, and writes the folder from which nginx and the model servers run. Sourced by serve.
# shellcheck shell=bash disable=SC2034,SC2154  # other files use and set variables too

# Sets `run`, the folder: a few kilobytes. Only models of a multi-model endpoint come later.
make_run_folder() {
    run=$(trap - ERR && mktemp -d "$(realpath "${TMPDIR:-/tmp}")/petbox.XXXXXX" 2>/dev/null) # serve says it
    chmod 755 "$run" # nginx's worker does not run as root
    cp -R -- "$here"/nginx.conf "$here"/gateway "$run"
    links=$run/models
    mkdir "$links"
    : >"$run/drained" && chmod 666 "$run/drained" # the gateway writes into it
}

# Links each version of a model as NAME/NUMBER in the folder `links`, so that no path needs quoting and a half-copied
# version is ignored. Sets `names`, the default model first.
find_models() {
    local file link model name number version
    local -A folder=()
    find_saved_models
    for file in "${saved_models[@]}"; do
        version=${file%/*} model=${file%/*} number=1
        if [[ ${version##*/} =~ ^[0-9]{1,18}$ ]]; then
            model=${version%/*} number=$((10#${version##*/})) # 00007 is version 7
        fi
        name=${model##*/}
        [[ $model != "$model_root" && $version != "$model_root" ]] || name=model
        [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] ||
            reject_models "$model: not a valid model name; use letters, digits and . _ -"
        [[ ${folder[$name]:=$model} == "$model" ]] ||
            reject_models "two models are named $name: ${folder[$name]} and $model"
        link=$links/$name/$number
        [[ ! -e $link ]] ||
            reject_models "two folders are version $number of $name: $(readlink "$link") and $version"
        mkdir -p "${link%/*}"
        ln -s "$version" "$link"
    done
    mapfile -t names < <(printf '%s\n' "${!folder[@]}" | LC_ALL=C sort)
    default_model=${default_model:-${names[0]}}
    [[ -n ${folder[$default_model]:-} ]] ||
        reject_models "SAGEMAKER_TFS_DEFAULT_MODEL_NAME=$default_model: there is no model of this name; the models are: ${names[*]}"
    mapfile -t names < <(echo "$default_model" && printf '%s\n' "${names[@]}" | grep -vxF "$default_model")
}

# Sets `saved_models`, and `model_root`, the first of `model_roots` that is not empty: a model that was
# provided but cannot be read is never replaced by the one in the image.
find_saved_models() {
    for model_root in "${model_roots[@]}"; do
        model_root=$(realpath -ms -- "$model_root")
        mapfile -d '' saved_models < <(find_files -name saved_model.pb -o -name saved_model.pbtxt)
        if ((${#saved_models[@]})); then
            ! has_own_server ||
                reject_models "${saved_models[0]}: this image serves detectors of petbox convert only; build one without ENGINE"
            return 0
        fi
        mapfile -d '' saved_models < <(find_files -name model.tflite -o -name model.xml)
        if ((${#saved_models[@]})); then
            [[ ${model_server[0]##*/} != tensorflow_model_server ]] ||
                reject_models "${saved_models[0]}: TensorFlow Serving cannot run a detector of petbox convert; build an image of its own: make image MODEL=model/NAME"
            ! has_own_server || check_engine
            return 0
        fi
        if [[ -d $model_root && ! -r $model_root ]] ||
            [[ -n $(find -L "$model_root" -mindepth 1 2>/dev/null | head -n 1) ]]; then
            reject_models "no SavedModel in $model_root"
        fi
    done
    reject_models "no SavedModel in ${model_roots[*]}"
}

has_own_server() { # as an image that was built with ENGINE
    [[ ${model_server[0]##*/} == petbox-model-server && -x $here/python/bin/petbox-model-server ]]
}

check_engine() { # rejects models that need a package which this image does not have
    local file package
    for file in "${saved_models[@]}"; do
        package=ai_edge_litert
        [[ $file != *.xml ]] || package=openvino
        "$here/python/bin/python3" -Ic "import importlib.util as of, sys; sys.exit(not of.find_spec('$package'))" ||
            reject_models "$file: this image has no $package; build one of its own, for models of this engine only"
    done
}

find_files() { # TEST...: the files under `model_root` that pass; code/ is for AWS's image
    find -L "$model_root" -mindepth 1 -maxdepth 6 -name code -prune -o -type f \( "$@" \) -print0 2>/dev/null |
        LC_ALL=C sort -z
}

reject_models() { # REASON: prints it with the actual and the expected files, and exits
    local file
    say "$1"
    say "found:"
    find -L "${model_roots[@]}" -maxdepth 4 2>&1 | LC_ALL=C sort | head -n 30 | sed 's/^/serve:   /' >&2 || true
    file=$(find -L "${model_roots[@]}" -maxdepth 4 -type f \( -name '*.keras' -o -name '*.h5' \) -print -quit 2>/dev/null || true)
    [[ -z $file ]] || say "$file: Keras' own format, not a SavedModel; make one with" \
        "keras.saving.load_model(\"$file\").export(\"1\")"
    say "expected, in ${model_roots[0]}:"
    say "  1/saved_model.pb                 one model and its version number"
    say "  NAME/1/saved_model.pb            one or several models by name"
    say "  export/Servo/1/saved_model.pb    as exported by TensorFlow's estimators"
    say "  saved_model.pb                   without a version folder; served as version 1"
    say "  1/model.tflite, 1/model.xml      of petbox convert, for petbox's own model server"
    exit 1
}

# Writes what nginx and the model servers read, and sets `tcmalloc`: bash may lose a SIGINT that comes
# while it waits for a command, so few run once the port is open.
write_configuration() {
    local directive file name
    tcmalloc=$(ldconfig -p 2>/dev/null | sed -n '/libtcmalloc_minimal\.so\.4 /{s/.* => //p;q}' || true)
    config=$run/models.config
    ((!multi_model)) || config=$run/multi/models.config # where the gateway can rewrite it
    # Not where Lua is built into nginx, as in OpenResty.
    while read -r directive file; do
        [[ $directive != load_module || ! -e ${file%;} ]] || echo "$directive $file"
    done <"$here/modules.conf" >"$run/modules.conf"
    [[ $words != "check --load" ]] || listen=unix:$run/gateway.sock # its port may be in use
    echo "listen $listen;" >"$run/listen.conf"
    # The buffer also takes the framing of a chunked body.
    printf 'client_%s %dm;\n' max_body_size "$body_limit" \
        body_buffer_size $((body_limit * 5 / 4 + 1)) >"$run/settings.conf"
    write_settings >"$run/settings.lua"
    ((!page)) || write_page
    {
        echo "model_config_list {"
        for name in "${names[@]}"; do # with all versions, so that a request can name one
            printf 'config { name: "%s" base_path: "%s" model_platform: "tensorflow"
                model_version_policy { all {} } }\n' "$name" "$run/models/$name"
        done
        echo "}"
    } >"$config"
    printf '%s { value: %d }\n' max_batch_size "$batch_size" batch_timeout_micros "$batch_timeout" \
        num_batch_threads "$batch_threads" max_enqueued_batches "$batches" >"$run/batching.config"
}

# settings.lua with the values from the environment; container/settings.lua says what each is for.
write_settings() {
    local all=$((in_flight * server_count)) i sockets='' megabytes=$((payload < 100 ? payload : 100)) bool=(false true)
    if [[ -n $code ]]; then
        all=$((hook_processes * hook_threads))
        for ((i = 0; i < hook_processes; i++)); do
            sockets+="\"unix:$(hook_socket "$i")\","
        done
    fi
    cat <<END
return {
    engines = {$(printf '"127.0.0.1:%s",' "${ports[@]}")},
    hooks = {$sockets},
    slots = $all,
    wait_seconds = $wait_seconds,
    engine_seconds = $engine_seconds,
    payload_megabytes = $megabytes, -- Batch Transform sends at most 100 MB at the same time
    concurrent_transforms = $((100 / megabytes)),
    body_megabytes = $body_limit,
    records_in_flight = $((batch || all < 8 ? all : 8)), -- in a batch job there are no other requests
    memory_bytes = $memory_bytes,
    models = {${names[*]+$(printf '"%s",' "${names[@]}")}},
    multi_model = ${bool[multi_model]},
    batching = ${bool[batching]},
    batch = ${bool[batch]},
    strings = "$strings",
    page = ${bool[page]},
    metadata = ${bool[metadata]},
    check = $([[ $words == "check --load" ]] && echo "\"http://localhost:$port\"" || echo false),
    metrics_namespace = "$namespace",
}
END
}

# The page, and the class names of the default model if it has them. Copied, because nginx's workers
# may not have permission to read the originals.
write_page() {
    local map
    map=$({ find -L "$run/models/${names[0]}" -maxdepth 3 -readable \( -path '*/assets/label_map.pbtxt' \
        -o -path '*/[0-9]*/label_map.pbtxt' \) 2>/dev/null || true; } | sort -V | tail -n 1) # the newest version's
    cp -R -- "$here/page" "$run"
    cat -- "${map:-/dev/null}" >"$run/page/label_map.pbtxt"
    chmod -R a+rX "$run/page"
}

# Sets `command`, which starts nginx. Its worker keeps the memory of a large request, and asks for large
# pages: getting memory from the kernel page by page costs more than copying the request.
nginx_command() {
    command=(env MALLOC_TRIM_THRESHOLD_=33554432 MALLOC_MMAP_THRESHOLD_=33554432
        GLIBC_TUNABLES=glibc.malloc.hugetlb=1
        nginx -p "$run" -c "$run/nginx.conf" -e stderr)
    # Root without capabilities cannot run the worker as another user, other users cannot anyway.
    ((EUID == 0)) || return 0
    if (((16#$(sed -n 's/^CapEff:\t//p' /proc/self/status) & 0xc1) != 0xc1)); then
        command+=(-g 'user root;')
    elif ! setpriv --reuid=65534 --regid=65534 --clear-groups test -r "$run/nginx.conf"; then
        say "TMPDIR=${TMPDIR:-/tmp}: nginx's worker, which is not root, cannot read in it; chmod o+x its folders, or choose another TMPDIR"
        exit 1
    fi
}

# Sets `command`, which starts a model server. With tcmalloc, if it is installed, its memory stays flat
# while models come and go, and it is a little faster; docs/multi-model.md has the figures.
model_server_command() { # INDEX
    command=(env)
    [[ -z $tcmalloc ]] || command+=("LD_PRELOAD=${LD_PRELOAD:+$LD_PRELOAD:}$tcmalloc")
    ((!${#gpus[@]})) || command+=("CUDA_VISIBLE_DEVICES=${gpus[$1 % ${#gpus[@]}]}")
    command+=(
        "${model_server[@]}"
        --rest_api_port="${ports[$1]}"
        --rest_api_num_threads=$((in_flight + 16)) # so that some are always left for /ping
        --rest_api_timeout_in_ms=$((engine_seconds * 1000))
        --port=0                                   # gRPC on a socket only, so that it uses no port
        --grpc_socket_path="$run/grpc-$1"
        --model_config_file="$config"
        --max_num_load_retries=0 # report a failed load at once, not after five minutes
        --tensorflow_intra_op_parallelism="$intra_op"
        --tensorflow_inter_op_parallelism="$inter_op"
    )
    if ((multi_model)); then # without threads, models are loaded and unloaded one after the other
        command+=(--model_config_file_poll_wait_seconds=1 --num_load_threads="$cpus" --num_unload_threads="$cpus")
    fi
    if ((batching)); then
        command+=(--enable_batching=true --batching_parameters_file="$run/batching.config")
    fi
}
