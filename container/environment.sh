# Reads and validates the environment variables, and counts what the machine has. Sourced by serve. All
# invalid values are reported together, each with its name, before anything is started.
# docs/contract.md has the table.
# shellcheck shell=bash disable=SC2034,SC2154  # the functions below set the variables

invalid=0
known=' ' # the environment variables that have been read

reject() { # NAME ADVICE
    say "$1=$(printf %q "${!1:-}"): $2"
    invalid=1
}

# Each of these functions sets VARIABLE to the value of the environment variable NAME, or to a default.

number() { # VARIABLE NAME DEFAULT MIN MAX
    local text=${!2:-$3}
    known+="$2 "
    if [[ ! $text =~ ^[0-9]{1,9}$ ]] || ((10#$text < $4 || 10#$text > $5)); then
        reject "$2" "give a whole number from $4 to $5"
        text=$4
    fi
    printf -v "$1" %d $((10#$text)) # so that 08 is not read as octal
}

switch() { # VARIABLE NAME [DEFAULT]: 1 or 0
    known+="$2 "
    printf -v "$1" 0
    case ${!2:-${3:-0}} in
        1 | [Tt][Rr][Uu][Ee]) printf -v "$1" 1 ;;
        0 | [Ff][Aa][Ll][Ss][Ee]) ;;
        *) reject "$2" "give true or false" ;;
    esac
}

text() { # VARIABLE NAME DEFAULT PATTERN ADVICE
    known+="$2 "
    printf -v "$1" %s "${!2:-$3}"
    if [[ ! ${!2:-} =~ ^($4)?$ ]]; then
        reject "$2" "$5"
        printf -v "$1" %s "$3"
    fi
}

read_environment() {
    local host share default models server
    number port SAGEMAKER_BIND_TO_PORT 8080 1 65535
    text host PETBOX_HOST '' '[A-Za-z0-9.-]+' "give an address or a host name, such as 127.0.0.1"
    listen=${host:+$host:}$port
    number server_count SAGEMAKER_TFS_INSTANCE_COUNT "$((${#gpus[@]} ? ${#gpus[@]} : 1))" 1 64
    # 8501 is exposed by TensorFlow Serving's image: docker run -P
    text safe_ports SAGEMAKER_SAFE_PORT_RANGE 8502-65535 '[0-9]{1,5}-[0-9]{1,5}' "give two ports, such as 9000-9999"
    choose_ports "${safe_ports%-*}" "${safe_ports#*-}"
    switch multi_model SAGEMAKER_MULTI_MODEL

    switch batch SAGEMAKER_BATCH
    number payload PETBOX_PAYLOAD_MEGABYTES 25 1 1024
    body_limit=$((batch && payload < 100 ? 100 : payload)) # a batch job may be told other limits

    read_tunables
    number batch_threads SAGEMAKER_TFS_NUM_BATCH_THREADS "$share" 1 1024
    # Whatever the gateway lets through fits into the queue.
    number batches SAGEMAKER_TFS_MAX_ENQUEUED_BATCHES 100000 1 100000000

    number wait_seconds PETBOX_WAIT_SECONDS 10 0 60
    number engine_seconds SAGEMAKER_NGINX_PROXY_READ_TIMEOUT_SECONDS 60 1 3600 # as AWS's image calls it
    number engine_seconds PETBOX_ENGINE_SECONDS "$engine_seconds" 1 3600
    number drain_seconds PETBOX_DRAIN_SECONDS 25 1 25 # 25 is nginx.conf's limit
    text strings PETBOX_STRINGS auto 'images|text' "give images or text"
    switch page PETBOX_PAGE
    switch metadata PETBOX_METADATA "$page" # the page shows it
    ((!multi_model || !page && !metadata)) || reject SAGEMAKER_MULTI_MODEL \
        "the page and /metadata need a model; remove it, or PETBOX_PAGE and PETBOX_METADATA"
    text namespace PETBOX_METRICS_NAMESPACE '' '[A-Za-z0-9./_#:-]{1,255}' \
        "give at most 255 letters, digits and . / _ # : -"
    text default_model SAGEMAKER_TFS_DEFAULT_MODEL_NAME '' '[A-Za-z0-9][A-Za-z0-9._-]*' \
        "give the name of a model's folder"
    text models PETBOX_MODELS '/opt/ml/model /models' '.+' ''
    text server PETBOX_MODEL_SERVER \
        "$(command -v tensorflow_model_server || command -v petbox-model-server || true)" '.+' ''
    # shellcheck disable=SC2162  # without -r, a backslash keeps a space inside a path
    read -a model_roots <<<"$models" && read -a model_server <<<"$server"
    if [[ -z $server ]]; then
        say "no model server: neither tensorflow_model_server nor petbox-model-server is on PATH;" \
            "build the image on tensorflow/serving, or set PETBOX_MODEL_SERVER"
        invalid=1
    fi
    switch hooks PETBOX_HOOKS 1
    text python PETBOX_PYTHON "$(command -v "$here/python/bin/python3" || true)" '.+' ''
    # At least one for each model server. One thread, since code written for AWS's container may not
    # expect a second one.
    default=$((cpus < 8 ? cpus : 8))
    number hook_processes SAGEMAKER_GUNICORN_WORKERS "$((default > server_count ? default : server_count))" 1 64
    number hook_threads SAGEMAKER_GUNICORN_THREADS 1 1 64
    warn_unknown
    ((!invalid)) || exit 1
}

read_tunables() { # what petbox tune measures
    local default
    # Each model server gets its share of the CPUs.
    share=$((cpus > server_count ? cpus / server_count : 1))
    number intra_op SAGEMAKER_TFS_INTRA_OP_PARALLELISM "$share" 0 1024
    number inter_op SAGEMAKER_TFS_INTER_OP_PARALLELISM "$share" 0 1024
    switch batching SAGEMAKER_TFS_ENABLE_BATCHING
    number batch_size SAGEMAKER_TFS_MAX_BATCH_SIZE 8 1 100000
    number batch_timeout SAGEMAKER_TFS_BATCH_TIMEOUT_MICROS 1000 0 60000000
    default=$((batching && batch_size > 16 ? 2 * batch_size : 32)) # only requests in flight fill a batch
    number in_flight PETBOX_MAX_IN_FLIGHT "$((default < 1024 ? default : 1024))" 1 1024
}

choose_ports() { # FIRST LAST: sets `ports`, one per model server; skips nginx's port and ports in use
    local next=$((10#$1)) last=$((10#$2))
    ports=()
    for (( ; next <= last && next < 65536 && ${#ports[@]} < server_count; next++)); do
        ((next == port)) || is_listening "$next" || ports+=("$next")
    done
    ((${#ports[@]} == server_count)) ||
        reject SAGEMAKER_SAFE_PORT_RANGE "fewer than $server_count free ports for the model servers; give a wider range"
}

warn_unknown() { # about misspelled variables, and variables of AWS's image
    local name
    for name in $(compgen -e | grep -E '^(PETBOX|SAGEMAKER_(TFS|GUNICORN|NGINX))_' | sort); do
        if [[ $known != *" $name "* ]]; then
            say "$name: has no effect; docs/contract.md lists the supported variables"
        fi
    done
}

# Sets `cpus` and `memory_bytes`: those of the machine, or less if CPU affinity or a cgroup limits them.
# An inference component, like `docker run --cpus`, sees all of the host but may use only some.
count_machine() { # CGROUP_ROOT
    local own quota period=1 limit kilobytes
    own=$1$(sed -n 's/^0:://p' /proc/self/cgroup) # version 2, with the host's whole tree visible
    # without a limit it is "max" in version 2, -1 in version 1
    read -r quota period < <(cat "$own/cpu.max" || cat "$1/cpu.max" ||
        paste -d' ' "$1"/cpu/cpu.cfs_{quota,period}_us) || true
    cpus=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) # which nproc would return
    if [[ $quota =~ ^[0-9]+$ ]] && (((quota + period - 1) / period < cpus)); then
        cpus=$(((quota + period - 1) / period))
    fi
    read -r limit < <(cat "$own/memory.max" || cat "$1/memory.max" ||
        cat "$1/memory/memory.limit_in_bytes") || true
    read -r _ kilobytes _ </proc/meminfo # the first line is MemTotal
    memory_bytes=$((kilobytes * 1024))
    if [[ $limit =~ ^[0-9]+$ ]] && ((limit < memory_bytes)); then
        memory_bytes=$limit
    fi
} 2>/dev/null

# Sets `free_bytes`: the memory that may still be used. A cgroup's pages of files are given up for it; those of the
# cgroups below it are counted too, by version 1 under other names.
count_free() { # CGROUP_ROOT
    local own used cache=0 total=0 available name pages
    own=$1$(sed -n 's/^0:://p' /proc/self/cgroup)
    available=$(sed -n 's/^MemAvailable: *\([0-9]*\) kB/\1/p' /proc/meminfo)
    free_bytes=$((available * 1024))
    read -r used < <(cat "$own/memory.current" || cat "$1/memory.current" ||
        cat "$1/memory/memory.usage_in_bytes") || used=0
    while read -r name pages; do
        case $name in
            active_file | inactive_file) cache=$((cache + pages)) ;;
            total_active_file | total_inactive_file) total=$((total + pages)) ;;
        esac
    done < <(cat "$own/memory.stat" || cat "$1/memory.stat" || cat "$1/memory/memory.stat")
    cache=$((total > cache ? total : cache))
    if ((memory_bytes - used + cache < free_bytes)); then
        free_bytes=$((memory_bytes - used + cache))
    fi
} 2>/dev/null

# Sets `gpus`: their CUDA ids. The device files are tried first, because nvidia-smi takes seconds
# when the driver is not loaded; it works where there are no device files (WSL).
count_gpus() {
    local found
    if [[ -v CUDA_VISIBLE_DEVICES ]]; then
        IFS=, read -ra gpus <<<"${CUDA_VISIBLE_DEVICES#-1}"
        return
    fi
    found=$(compgen -G '/dev/nvidia[0-9]*' || timeout 10 nvidia-smi -L 2>/dev/null | grep '^GPU ' || true)
    mapfile -t gpus < <(seq 0 $(($(grep -c . <<<"$found") - 1)))
}
