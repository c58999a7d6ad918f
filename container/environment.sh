# The environment, read once. Sourced by serve. A value that cannot be meant is refused by its name,
# and all of them are, before anything is started. docs/contract.md has the table.
# shellcheck shell=bash
# shellcheck disable=SC2034  # the others read what is found here
# shellcheck disable=SC2154  # machine.sh has counted

refused=0
known=' '

refuse() { # NAME, and what to do about it
    say "$1=$(printf %q "${!1:-}"): $2"
    refused=1
}

# Each of the three reads the variable NAME; REPLY is its value, or the default.

number() { # NAME DEFAULT LEAST MOST
    known+="$1 "
    REPLY=${!1:-$2}
    if [[ ! $REPLY =~ ^[0-9]{1,9}$ ]] || ((10#$REPLY < $3 || 10#$REPLY > $4)); then
        refuse "$1" "give a whole number from $3 to $4"
        REPLY=$3
    fi
    REPLY=$((10#$REPLY)) # 08 is no octal number
}

switch() { # NAME: 1 or 0, and 0 where nothing is said
    known+="$1 "
    REPLY=0
    case ${!1:-false} in
        1 | [Tt][Rr][Uu][Ee]) REPLY=1 ;;
        0 | [Ff][Aa][Ll][Ss][Ee]) ;;
        *) refuse "$1" "give true or false" ;;
    esac
}

text() { # NAME PATTERN WHAT: empty where nothing is said
    known+="$1 "
    REPLY=${!1:-}
    if [[ -n $REPLY && ! $REPLY =~ $2 ]]; then
        refuse "$1" "$3"
        REPLY=''
    fi
}

read_environment() {
    local share let_in
    number SAGEMAKER_BIND_TO_PORT 8080 1 65535; port=$REPLY
    number SAGEMAKER_TFS_INSTANCE_COUNT "$((${#gpus[@]} ? ${#gpus[@]} : 1))" 1 64; engines=$REPLY
    text SAGEMAKER_SAFE_PORT_RANGE '^[0-9]{1,5}-[0-9]{1,5}$' "give two ports, such as 9000-9999"
    choose_ports "${REPLY:-8502-65535}" # TensorFlow Serving's image exposes 8501: docker run -P
    switch SAGEMAKER_MULTI_MODEL
    if ((REPLY)); then
        refuse SAGEMAKER_MULTI_MODEL "multi-model endpoints are not served; take the variable away"
    fi

    switch SAGEMAKER_BATCH; batch=$REPLY
    number PETBOX_PAYLOAD_MEGABYTES "$((batch ? 100 : 25))" 1 1024; payload=$REPLY

    # An engine has its share of the CPUs.
    share=$((cpus > engines ? cpus / engines : 1))
    number SAGEMAKER_TFS_INTRA_OP_PARALLELISM "$share" 0 1024; intra_op=$REPLY
    number SAGEMAKER_TFS_INTER_OP_PARALLELISM "$share" 0 1024; inter_op=$REPLY
    switch SAGEMAKER_TFS_ENABLE_BATCHING; batching=$REPLY
    number SAGEMAKER_TFS_MAX_BATCH_SIZE 8 1 100000; batch_size=$REPLY
    number SAGEMAKER_TFS_BATCH_TIMEOUT_MICROS 1000 0 60000000; batch_timeout=$REPLY
    number SAGEMAKER_TFS_NUM_BATCH_THREADS "$share" 1 1024; batch_threads=$REPLY
    # What the front lets in always fits into the queue.
    number SAGEMAKER_TFS_MAX_ENQUEUED_BATCHES 100000 1 100000000; batches=$REPLY

    # A batch fills only with what is let in.
    let_in=$((batching && batch_size > 16 ? 2 * batch_size : 32))
    number PETBOX_MAX_IN_FLIGHT "$((let_in < 1024 ? let_in : 1024))" 1 1024; in_flight=$REPLY
    number PETBOX_WAIT_SECONDS 10 0 60; wait_seconds=$REPLY
    number PETBOX_DRAIN_SECONDS 25 1 25; drain_seconds=$REPLY # at 25 nginx.conf cuts
    switch PETBOX_PAGE; page=$REPLY
    text PETBOX_METRICS_NAMESPACE '^[A-Za-z0-9./_#:-]{1,255}$' \
        "give letters, digits and . / _ # : -, 255 of them at most"; namespace=$REPLY
    text SAGEMAKER_TFS_DEFAULT_MODEL_NAME '^[A-Za-z0-9][A-Za-z0-9._-]*$' \
        "give the name of a model's folder"; default_model=$REPLY
    text PETBOX_MODELS '.' ''
    read -ra places <<<"${REPLY:-/opt/ml/model /models}"

    engine=$(command -v tensorflow_model_server || command -v petbox-model-server) || {
        say "no model server: neither tensorflow_model_server nor petbox-model-server is on PATH"
        refused=1
    }
    say_what_is_not_read
    if ((refused)); then
        exit 1
    fi
}

choose_ports() { # FIRST-LAST: `ports`, one an engine; never the front's own, nor one that is taken
    local next=$((10#${1%-*})) last=$((10#${1#*-}))
    ports=()
    for (( ; next <= last && next < 65536 && ${#ports[@]} < engines; next++)); do
        if ((next != port)) && ! (: <"/dev/tcp/127.0.0.1/$next") 2>/dev/null; then
            ports+=("$next")
        fi
    done
    if ((${#ports[@]} < engines)); then
        refuse SAGEMAKER_SAFE_PORT_RANGE "no $engines free ports for the engines; give a wider one"
    fi
}

say_what_is_not_read() { # a misspelt variable, or one of AWS's own image
    local name
    for name in $(compgen -e | grep -E '^(PETBOX|SAGEMAKER_(TFS|GUNICORN|NGINX))_' | sort); do
        if [[ $known != *" $name "* ]]; then
            say "$name: has no effect here; docs/contract.md lists what has"
        fi
    done
}
