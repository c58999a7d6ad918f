# The folder that nginx and the engines are started from. Sourced by serve.
# shellcheck shell=bash
# shellcheck disable=SC2034  # the others read what is made here
# shellcheck disable=SC2154  # what is written was read and found before

# `run`: nginx.conf and its scripts as they lie, the three files it includes, the models under
# their names, and what the engines read. Some kilobytes, and nothing is written later.
write_run_folder() {
    run=$(mktemp -d "${TMPDIR:-/tmp}/petbox.XXXXXX")
    chmod 755 "$run" # nginx's workers are not root when their master is
    cp -- "$here"/nginx.conf "$here"/*.js "$run"
    echo "listen $port;" >"$run/listen.conf"
    write_engines >"$run/engine.conf"
    write_settings >"$run/settings.conf"
    if ((page)); then
        write_page
    fi
    write_models >"$run/models.config"
    write_batching >"$run/batching.config"
    # A worker keeps the memory that a large picture took: asking the kernel anew costs more than
    # copying the picture.
    front=(env MALLOC_TRIM_THRESHOLD_=33554432 MALLOC_MMAP_THRESHOLD_=33554432
        nginx -p "$run" -c "$run/nginx.conf" -e stderr)
    # Root without capabilities cannot give its workers another user.
    if ((EUID == 0 && (16#$(sed -n 's/^CapEff:\t//p' /proc/self/status) & 0xc1) != 0xc1)); then
        front+=(-g 'user root;')
    fi
}

write_engines() {
    local number
    echo "upstream engine {"
    echo "    zone engine 64k;"
    echo "    least_conn;"
    for number in "${ports[@]}"; do
        echo "    server 127.0.0.1:$number max_conns=$in_flight max_fails=0;"
    done
    echo "    keepalive 32;"
    echo "}"
}

# The file as it lies, but for what the environment decides.
write_settings() {
    local all=$((in_flight * engines))
    local -a edits=(
        -e "s|^client_max_body_size .*|client_max_body_size ${payload}m;|"
        -e "s|^client_body_buffer_size .*|client_body_buffer_size ${payload}m;|"
    )
    # Batch Transform takes no more than 100 MB in all
    setting payload_megabytes $((payload < 100 ? payload : 100))
    setting concurrent_transforms $((payload < 100 ? 100 / payload : 1))
    setting wait_seconds "$wait_seconds"
    # the lines of a batch are all there is to do
    setting records_in_flight $((batch || all < 8 ? all : 8))
    setting models "\"${names[*]}\""
    setting batching "$batching"
    setting metrics_namespace "\"$namespace\""
    setting page "$page"
    sed "${edits[@]}" "$here/settings.conf"
}

setting() { edits+=(-e "s|^map \"\" \$$1 .*|map \"\" \$$1 { default $2; }|"); }

# The page, and the names of the default model's classes where it brings them. Copied, because nginx's
# workers read it, who need not be allowed to read what we may.
write_page() {
    local map
    map=$({ find -L "${folder[${names[0]}]}" -maxdepth 3 -path '*/assets/label_map.pbtxt' -readable \
        2>/dev/null || true; } | sort -V | tail -n 1) # of the newest version
    cp -R -- "$here/page" "$run"
    cat -- "${map:-/dev/null}" >"$run/page/label_map.pbtxt"
    chmod -R a+rX "$run/page"
}

# Each model by a link under its name, so that no character of a path needs quoting.
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
        # all of them, so that a request may name one; by number, so that one half copied stops nothing
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

# `words`: the command that starts engine number $1.
engine_words() {
    words=()
    if ((${#gpus[@]})); then
        words+=(env "CUDA_VISIBLE_DEVICES=${gpus[$1 % ${#gpus[@]}]}")
    fi
    words+=(
        "$engine"
        --rest_api_port="${ports[$1]}"
        --rest_api_num_threads=$((in_flight + 16)) # so that one is always left for /ping
        --rest_api_timeout_in_ms=60000             # what SageMaker waits; its own default is 30 s
        --port=0                                   # gRPC by a socket alone, so that it takes no port
        --grpc_socket_path="$run/grpc-$1"
        --model_config_file="$run/models.config"
        --max_num_load_retries=0 # what cannot be loaded is told of now, not in five minutes
        --tensorflow_intra_op_parallelism="$intra_op"
        --tensorflow_inter_op_parallelism="$inter_op"
    )
    if ((batching)); then
        words+=(--enable_batching=true --batching_parameters_file="$run/batching.config")
    fi
}
