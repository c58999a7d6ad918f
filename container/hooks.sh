# The model's own Python code: finds code/inference.py, and runs it in processes between nginx and the
# model servers, which container/hooks/ has. Sourced by serve. docs/hooks.md
# shellcheck shell=bash disable=SC2034,SC2154  # other files use and set variables too

# Sets `code`, the folder of inference.py: beside the models or beside the default model's versions; ''
# if there is none, or if it is to be ignored. Exits if it cannot run here.
find_code() {
    local error folder version
    version=$(readlink "$(find "$run/models/${names[0]}" -type l | head -n 1)")
    code=''
    ((hooks)) || return 0
    [[ ! ${version##*/} =~ ^[0-9]+$ ]] || version=${version%/*}
    for folder in "$model_root/code" "$version/code"; do
        [[ -n $code || ! -f $folder/inference.py ]] || code=$folder
    done
    [[ -n $code ]] || return 0
    if [[ -z $python ]]; then
        say "$code/inference.py cannot run, because this image has no Python; build it with --build-arg" \
            "HOOKS=1, or set PETBOX_HOOKS=false to serve the model without it"
        exit 1
    fi
    # Each request has a thread at its model server, even if all go to the same one.
    ((in_flight >= hook_processes * hook_threads)) || in_flight=$((hook_processes * hook_threads))
    if ! error=$("$python" -B "$here/hooks/run.py" check "$code" 2>&1); then
        say "${error#hooks: }"
        exit 1
    fi
    choose_grpc_ports "$((10#${safe_ports#*-}))"
}

# Sets `grpc_ports`, one for each process, after the model servers' ports; fewer if there are no more.
choose_grpc_ports() { # LAST
    local next=$((ports[-1] + 1))
    grpc_ports=()
    for (( ; next <= $1 && next < 65536 && ${#grpc_ports[@]} < hook_processes; next++)); do
        ((next == port)) || is_listening "$next" || grpc_ports+=("$next")
    done
}

hook_socket() { echo "$run/hook-$1"; } # INDEX

# Sets `command`, which starts a process of hooks. Each has one of the model servers.
hook_command() { # INDEX
    local server=$(($1 % server_count))
    command=(
        "$python" -uB "$here/hooks/run.py" serve "$code"
        --socket="$(hook_socket "$1")"
        --rest="127.0.0.1:${ports[server]}"
        --grpc="$run/grpc-$server"
        --grpc-port="${grpc_ports[$1]:-0}"
        --threads="$hook_threads"
        --seconds="$engine_seconds"
    )
}

start_hooks() {
    local i
    [[ -n $code ]] || return 0
    for ((i = 0; i < hook_processes; i++)); do
        hook_command "$i"
        start "hook process $((i + 1)) of $hook_processes" "${command[@]}"
    done
}

# Whether there are none, or one that has imported inference.py.
hooks_are_serving() {
    local i
    [[ -n $code ]] || return 0
    for ((i = 0; i < hook_processes; i++)); do
        ! is_alive "${processes[1 + server_count + i]}" || [[ ! -S $(hook_socket "$i") ]] || return 0
    done
    return 1
}
