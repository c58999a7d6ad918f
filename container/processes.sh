# Starts nginx and the model servers, watches them, and stops them. Sourced by serve.
# shellcheck shell=bash disable=SC2034,SC2154  # other files use and set variables too

processes=()                             # ids: nginx, the model servers, the hook processes
declare -A process_name=() log_copier=() # by id
failure='' exit_code=0                   # of the first that died
exec {never_ready}<> <(:)                # a pipe without data: reading it sleeps without a process

pause() { read -rt "$1" -u "$never_ready" || true; } # SECONDS

is_alive() { [[ -d /proc/$1 ]]; } # works for processes that root without capabilities may not signal

is_listening() { grep -qs ":$(printf %04X "$1") [0-9A-F]*:0000 0A " /proc/net/tcp /proc/net/tcp6; } # PORT

# Each process has its own session, so that Ctrl-C reaches it only through us.
start() { # NAME COMMAND...
    local name=$1 log out copier
    shift
    exec {log}> >(
        trap '' INT TERM
        LC_ALL=C exec sed -une "$(copy_log "$run/${name%% of*}")"
    )
    copier=$!
    out=$log
    [[ $name != nginx ]] || out=1 # stdout is reserved for nginx's request log
    setsid "$@" </dev/null 1>&"$out" 2>&"$log" &
    processes+=($!)
    process_name[$!]=$name
    log_copier[$!]=$copier
    exec {log}>&-
}

# A sed program that copies a log to stderr, and keeps what explains an exit in PREFIX.error: the line
# with which TensorFlow Serving, nginx or a hook process gives up, or else the last two lines. The first of them names
# the error; a dump of graph nodes in [[…]] may follow it. PREFIX.gpu gets errors of the GPU.
copy_log() { # PREFIX
    cat <<END
/initgroups(root, 0) failed/d # harmless, from nginx as root without capabilities
/server_core\.cc:[0-9]*\] *\((Re-)adding\|Adding\/updating\|Finished\) /d # each second, for each model
w /dev/stderr
/failed call to cuInit\|Cannot dlopen some GPU libraries/w $1.gpu
/Failed to start server\. Error:\|^[-0-9:. ]*F[0-9 ].*\]\|\[emerg\]\|^hooks: /b fatal
/^[[:space:]]*\(\[\[.*\)*$/!{H;x;s/.*\n\(.*\n.*\)/\1/;x}
\${x;s/^\n//;s:\n: / :;w $1.error
}
d
:fatal
w $1.error
:copy
n
w /dev/stderr
b copy
END
}

flush_log() { # ID of a dead process: waits until all its output is copied
    local tries=0
    while is_alive "${log_copier[$1]}" && ((tries++ < 10)); do
        pause 0.1
    done
}

# Returns at a signal to stop, or when a process has died.
wait_for_stop() {
    until ((${#signals[@]})) || [[ -n $failure ]]; do
        pause 0.2
        ((!multi_model)) || find_requested_models
        check_processes
        check_gpus
    done
}

check_processes() { # sets `failure` and `exit_code` when the first has died
    local id
    for id in "${!process_name[@]}"; do
        is_alive "$id" || [[ -n $failure ]] || note_failure "$id"
    done
}

note_failure() { # ID of the dead process
    local code=0 reason error=$run/${process_name[$1]%% of*}.error
    { wait "$1" || code=$?; } 2>/dev/null # bash would report it as well
    flush_log "$1"
    if ((code == 128 + 9)); then
        reason="killed by SIGKILL, probably because memory ran out; use a larger machine"
    elif ((code > 128)) && kill -l "$code" >/dev/null 2>&1; then
        reason="killed by SIG$(kill -l "$code")"
    else
        reason="exit code $code: $(cat "$error" || true)"
    fi
    failure="${process_name[$1]} died: $reason"
    exit_code=$((code ? code : 1)) # a server that stops by itself has failed, whatever its exit code
}

# Without its GPU, TensorFlow Serving would go on with the CPUs, slow and expensive.
check_gpus() {
    local log
    ((${#gpus[@]})) && [[ ${model_server[0]##*/} == tensorflow_model_server ]] || return 0
    for log in "$run"/*.gpu; do
        if [[ -s $log ]]; then
            say "a GPU cannot be used; match its driver and the image's CUDA, or set" \
                "CUDA_VISIBLE_DEVICES=-1 to use CPUs: $(head -n 1 "$log")"
            exit 1
        fi
    done
}

# Stops in an order that loses no request. After SIGTERM, and when one of several model servers has
# died, /ping returns 503 and the port stays open for clients that have not noticed: until the gateway
# reports that nothing but pings came for 2 s, and at least 5 s, in which a router pings. After that, or
# at once after SIGINT, nginx closes the port and completes the requests in flight.
drain() {
    local start=$SECONDS nginx=${processes[0]}
    is_serving || return 0
    say "stopping${failure:+, because $failure}: requests in flight have $drain_seconds s"
    if [[ ${signals[0]:-} != INT ]]; then
        # a full disk is no reason to drop requests
        : >"$run/stopping" || say "$run/stopping: cannot be written; /ping will not return 503"
        until [[ -s $run/drained ]] && ((SECONDS - start > 5)); do
            requests_may_complete $((drain_seconds - drain_seconds / 5)) || break
        done
    fi
    unset "process_name[$nginx]" # from now on it may exit
    kill -QUIT "$nginx" || true
    while is_alive "$nginx" && requests_may_complete "$drain_seconds"; do :; done
    ! is_alive "$nginx" || say "requests not completed within $drain_seconds s are dropped"
}

# Whether nginx, a model server and, if there are any, a hook process are ready.
is_serving() {
    local i
    is_alive "${processes[0]}" && hooks_are_serving || return 1
    for i in "${!ports[@]}"; do
        ! is_alive "${processes[i + 1]}" || ! is_listening "${ports[i]}" || return 0
    done
    return 1
}

requests_may_complete() { # SECONDS since the start of the drain; waits a moment
    if ((${#signals[@]} > 1)); then
        say "second signal: requests in flight are dropped"
        exit $((128 + $(kill -l "${signals[-1]}")))
    fi
    pause 0.1
    check_processes
    ((SECONDS - start < $1)) && is_serving
}

# Runs on every exit: kills the model servers, which have no requests any more, and whatever else remains,
# with all their children, and flushes their logs.
clean_up() {
    local id
    trap '' TERM INT
    disown -a # so that bash does not report the killed ones
    for id in "${processes[@]}"; do
        kill -KILL -- "-$id" 2>/dev/null || kill -KILL "$id" 2>/dev/null || true
    done
    for id in "${processes[@]}"; do
        flush_log "$id"
    done
    rm -rf "${run:-}"
}
