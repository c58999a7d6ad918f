# Starts the child processes, watches them, and stops them. Sourced by serve.
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2154  # sed has its own $; other files set some of the variables

children=()                           # process ids, nginx first
declare -A child_name=() log_reader=() # by process id; log_reader holds the id of its log's reader
exec {never_ready}<> <(:)              # a pipe without data: reading it sleeps without a process

pause() { read -rt "$1" -u "$never_ready" || true; } # SECONDS

alive() { [[ -d /proc/$1 ]]; } # works for processes that root without capabilities may not signal

# Each child has its own session, so that Ctrl-C reaches it only through us. The output of a model
# server and nginx's errors are copied to stderr, and the last two lines kept for its exit reason.
start() { # NAME COMMAND...
    local name=$1 log_pipe out reader
    shift
    exec {log_pipe}> >(
        trap '' INT TERM
        # initgroups: a harmless message of nginx, as root without capabilities
        LC_ALL=C exec sed -n -e '/initgroups(root, 0) failed/d' -e 'w /dev/stderr' \
            -e '/./{H;x;s/.*\n\(.*\n.*\)/\1/;x}' -e '${x;s/^\n//;s:\n: / :;w '"$run/${name%% of*}.last" -e '}'
    )
    reader=$!
    out=$log_pipe
    [[ $name != nginx ]] || out=1 # stdout is reserved for nginx's request log
    setsid "$@" </dev/null 1>&"$out" 2>&"$log_pipe" &
    children+=($!)
    child_name[$!]=$name
    log_reader[$!]=$reader
    exec {log_pipe}>&-
}

flush_log() { # PID of a dead child: waits until all its output is copied
    local tries=0
    while alive "${log_reader[$1]}" && ((tries++ < 10)); do
        pause 0.1
    done
}

reap_children() { # exits if one of them has died
    local pid
    for pid in "${!child_name[@]}"; do
        alive "$pid" || exit_with_reason "$pid"
    done
}

exit_with_reason() { # PID of the dead child
    local code=0 reason name=${child_name[$1]}
    { wait "$1" || code=$?; } 2>/dev/null # bash would report it as well
    flush_log "$1"
    if ((code == 128 + 9)); then
        reason="killed by SIGKILL, probably because memory ran out; use a larger machine"
    elif ((code > 128)) && kill -l "$code" >/dev/null 2>&1; then
        reason="killed by SIG$(kill -l "$code")"
    else
        reason="exit code $code; its last log lines: $(cat "$run/${name%% of*}.last")"
    fi
    say "$name died, so the container exits: $reason"
    exit $((code ? code : 1)) # a server that stops by itself has failed, whatever its exit code
}

# Stops in an order that loses no request. /ping returns 503 from now on, and the port stays open for
# clients that have not noticed: new nginx workers take over while the old ones complete their
# requests. Then nginx closes the port and completes the rest. The model servers stop last.
drain() {
    local deadline=$((SECONDS + drain_seconds)) nginx=${children[0]} old_workers pid
    say "stopping: /ping returns 503, requests in flight have $drain_seconds s"
    unset "child_name[$nginx]" # from now on it may exit
    old_workers=$(workers "$nginx")
    # readiness.js checks for this file; a full disk is no reason to drop requests
    : >"$run/stopping" || say "$run/stopping: cannot be written; /ping will not return 503"
    kill -HUP "$nginx" || true
    for pid in $old_workers; do
        wait_for_exit "$pid" "$deadline" || break
    done
    kill -QUIT "$nginx" || true
    wait_for_exit "$nginx" "$deadline" || say "requests not completed within $drain_seconds s are dropped"
    child_name=()
    kill -TERM "${children[@]:1}" || true
    for pid in "${children[@]:1}"; do
        wait_for_exit "$pid" "$((SECONDS + 2))" || true
    done
    exit 0
}

workers() { # PARENT: its child processes, from /proc, because not every base image has pgrep
    local stat line
    for stat in /proc/[0-9]*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue # it has exited
        if [[ ${line##*) } == ?" $1 "* ]]; then # its name, in brackets, may hold any character
            stat=${stat%/stat}
            echo "${stat##*/}"
        fi
    done
}

wait_for_exit() { # PID DEADLINE
    while alive "$1"; do
        if ((${#signals[@]} > 1)); then
            say "second signal: requests in flight are dropped"
            exit $((128 + $(kill -l "${signals[-1]}")))
        fi
        ((SECONDS < $2)) || return 1
        reap_children
        pause 0.05
    done
}

# Runs on every exit: kills the remaining children with all their processes, and flushes their logs.
clean_up() {
    local pid
    trap '' TERM INT
    disown -a # so that bash does not report the killed ones
    for pid in "${children[@]}"; do
        kill -KILL -- "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || true
    done
    for pid in "${children[@]}"; do
        flush_log "$pid"
    done
    rm -rf "${run:-}"
}
