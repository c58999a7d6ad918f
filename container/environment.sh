# Reads and validates the environment variables, and counts what the machine has. Sourced by serve. All
# invalid values are reported together, each with its name, before anything is started.
# docs/contract.md has the table.
# shellcheck shell=bash
# shellcheck disable=SC2034  # used by other files

invalid=0
known=' ' # the variables that have been read

reject() { # NAME ADVICE
    say "$1=$(printf %q "${!1:-}"): $2"
    invalid=1
}

# Each of these functions reads the variable NAME and sets REPLY to its value or the default.

number() { # NAME DEFAULT MIN MAX
    known+="$1 "
    REPLY=${!1:-$2}
    if [[ ! $REPLY =~ ^[0-9]{1,9}$ ]] || ((10#$REPLY < $3 || 10#$REPLY > $4)); then
        reject "$1" "give a whole number from $3 to $4"
        REPLY=$3
    fi
    REPLY=$((10#$REPLY)) # so that 08 is not read as octal
}

switch() { # NAME: 1 or 0, by default 0
    known+="$1 "
    REPLY=0
    case ${!1:-false} in
        1 | [Tt][Rr][Uu][Ee]) REPLY=1 ;;
        0 | [Ff][Aa][Ll][Ss][Ee]) ;;
        *) reject "$1" "give true or false" ;;
    esac
}

text() { # NAME PATTERN ADVICE: by default empty
    known+="$1 "
    REPLY=${!1:-}
    if [[ -n $REPLY && ! $REPLY =~ $2 ]]; then
        reject "$1" "$3"
        REPLY=''
    fi
}

read_environment() {
    local share default_in_flight
    number SAGEMAKER_BIND_TO_PORT 8080 1 65535; port=$REPLY
    text PETBOX_HOST '^[A-Za-z0-9.-]+$' "give an address or a host name, such as 127.0.0.1"; listen=${REPLY:+$REPLY:}$port
    number SAGEMAKER_TFS_INSTANCE_COUNT "$((${#gpus[@]} ? ${#gpus[@]} : 1))" 1 64; server_count=$REPLY
    text SAGEMAKER_SAFE_PORT_RANGE '^[0-9]{1,5}-[0-9]{1,5}$' "give two ports, such as 9000-9999"
    choose_ports "${REPLY:-8502-65535}" # 8501 is exposed by TensorFlow Serving's image: docker run -P
    switch SAGEMAKER_MULTI_MODEL
    if ((REPLY)); then
        reject SAGEMAKER_MULTI_MODEL "multi-model endpoints are not supported; remove the variable"
    fi

    switch SAGEMAKER_BATCH; batch=$REPLY
    number PETBOX_PAYLOAD_MEGABYTES 25 1 1024; payload=$REPLY
    body_limit=$((batch && payload < 100 ? 100 : payload)) # a batch job may be told other limits

    # Each model server gets its share of the CPUs.
    share=$((cpus > server_count ? cpus / server_count : 1))
    number SAGEMAKER_TFS_INTRA_OP_PARALLELISM "$share" 0 1024; intra_op=$REPLY
    number SAGEMAKER_TFS_INTER_OP_PARALLELISM "$share" 0 1024; inter_op=$REPLY
    switch SAGEMAKER_TFS_ENABLE_BATCHING; batching=$REPLY
    number SAGEMAKER_TFS_MAX_BATCH_SIZE 8 1 100000; batch_size=$REPLY
    number SAGEMAKER_TFS_BATCH_TIMEOUT_MICROS 1000 0 60000000; batch_timeout=$REPLY
    number SAGEMAKER_TFS_NUM_BATCH_THREADS "$share" 1 1024; batch_threads=$REPLY
    # Whatever the gateway lets through fits into the queue.
    number SAGEMAKER_TFS_MAX_ENQUEUED_BATCHES 100000 1 100000000; batches=$REPLY

    # A batch can only fill up with requests that are in flight.
    default_in_flight=$((batching && batch_size > 16 ? 2 * batch_size : 32))
    number PETBOX_MAX_IN_FLIGHT "$((default_in_flight < 1024 ? default_in_flight : 1024))" 1 1024; in_flight=$REPLY
    number PETBOX_WAIT_SECONDS 10 0 60; wait_seconds=$REPLY
    number SAGEMAKER_NGINX_PROXY_READ_TIMEOUT_SECONDS 60 1 3600 # the name in AWS's image
    number PETBOX_ENGINE_SECONDS "$REPLY" 1 3600; engine_seconds=$REPLY
    text PETBOX_STRINGS '^(images|text)$' "give images or text"; strings=${REPLY:-auto}
    number PETBOX_DRAIN_SECONDS 25 1 25; drain_seconds=$REPLY # 25 is nginx.conf's limit
    switch PETBOX_PAGE; page=$REPLY
    text PETBOX_METRICS_NAMESPACE '^[A-Za-z0-9./_#:-]{1,255}$' \
        "give at most 255 letters, digits and . / _ # : -"; namespace=$REPLY
    text SAGEMAKER_TFS_DEFAULT_MODEL_NAME '^[A-Za-z0-9][A-Za-z0-9._-]*$' \
        "give the name of a model's folder"; default_model=$REPLY
    # shellcheck disable=SC2162  # without -r, a backslash keeps a space inside a path
    {
        text PETBOX_MODELS '.' ''
        read -a model_roots <<<"${REPLY:-/opt/ml/model /models}"
        text PETBOX_MODEL_SERVER '.' ''
        read -a model_server <<<"$REPLY"
    }
    if ((${#model_server[@]} == 0)); then
        model_server=("$(command -v tensorflow_model_server || command -v petbox-model-server)") || {
            say "no model server: neither tensorflow_model_server nor petbox-model-server is on PATH"
            invalid=1
        }
    fi
    warn_unknown
    if ((invalid)); then
        exit 1
    fi
}

choose_ports() { # FIRST-LAST: sets `ports`, one per model server; skips nginx's port and ports in use
    local next=$((10#${1%-*})) last=$((10#${1#*-}))
    ports=()
    for (( ; next <= last && next < 65536 && ${#ports[@]} < server_count; next++)); do
        if ((next != port)) && ! is_listening "$next"; then
            ports+=("$next")
        fi
    done
    if ((${#ports[@]} < server_count)); then
        reject SAGEMAKER_SAFE_PORT_RANGE "fewer than $server_count free ports for the model servers; give a wider range"
    fi
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
    read -r quota period < <(cat "$own/cpu.max" || cat "$1/cpu.max" || paste -d' ' "$1"/cpu/cpu.cfs_{quota,period}_us) || true
    cpus=$(env -u OMP_NUM_THREADS -u OMP_THREAD_LIMIT nproc) # which nproc would return
    if [[ $quota =~ ^[0-9]+$ ]] && (((quota + period - 1) / period < cpus)); then
        cpus=$(((quota + period - 1) / period))
    fi
    read -r limit < <(cat "$own/memory.max" || cat "$1/memory.max" || cat "$1/memory/memory.limit_in_bytes") || true
    read -r _ kilobytes _ </proc/meminfo # the first line is MemTotal
    memory_bytes=$((kilobytes * 1024))
    if [[ $limit =~ ^[0-9]+$ ]] && ((limit < memory_bytes)); then
        memory_bytes=$limit
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
    found=$(compgen -G '/dev/nvidia[0-9]*') || found=''
    if [[ -z $found ]] && command -v nvidia-smi >/dev/null; then
        found=$(timeout 10 nvidia-smi -L | grep '^GPU ') || found=''
    fi
    mapfile -t gpus < <(seq 0 $(($(grep -c . <<<"$found") - 1)))
}
