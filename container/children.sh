# What was started, until all of it is gone. Sourced by serve.
# shellcheck shell=bash
# shellcheck disable=SC2016,SC2154  # sed has its own $; the others have read and written

started=()                 # processes, nginx first
declare -A title=() ear=() # by process: what it is called, and who listens to it
exec {never}<> <(:)        # nothing is ever written there: to read it is to sleep, without a process

nap() { read -rt "$1" -u "$never" || true; }

alive() { [[ -d /proc/$1 ]]; } # those too that a root without rights may not signal

# In a session of its own, so that Ctrl-C reaches it through us. What an engine says, and what nginx
# complains of, is passed on to stderr; its last two lines are kept for its obituary.
start() { # TITLE COMMAND...
    local name=$1 mouth out listener
    shift
    exec {mouth}> >(
        trap '' INT TERM
        # initgroups: what nginx says, and does no harm, where root without rights stays root
        LC_ALL=C exec sed -n -e '/initgroups(root, 0) failed/d' -e 'w /dev/stderr' \
            -e '/./{H;x;s/.*\n\(.*\n.*\)/\1/;x}' -e '${x;s/^\n//;s:\n: / :;w '"$run/${name%% of*}.words" -e '}'
    )
    listener=$!
    out=$mouth
    [[ $name != nginx ]] || out=1 # its log of requests is all there is on stdout
    setsid "$@" </dev/null 1>&"$out" 2>&"$mouth" &
    started+=($!)
    title[$!]=$name
    ear[$!]=$listener
    exec {mouth}>&-
}

heard() { # PROCESS that is dead: its last words are passed on
    local tries=0
    while alive "${ear[$1]}" && ((tries++ < 10)); do
        nap 0.1
    done
}

# When one is dead the container is: says which and why, and ends.
bury_the_dead() {
    local pid
    for pid in "${!title[@]}"; do
        alive "$pid" || obituary "$pid"
    done
}

obituary() { # PROCESS
    local code=0 why name=${title[$1]}
    { wait "$1" || code=$?; } 2>/dev/null # bash would tell of it as well
    heard "$1"
    if ((code == 128 + 9)); then
        why="killed by SIGKILL; the likeliest reason is that memory ran out, so take a larger machine"
    elif ((code > 128)) && kill -l "$code" >/dev/null 2>&1; then
        why="killed by SIG$(kill -l "$code")"
    else
        why="it left with $code; its last words: $(cat "$run/${name%% of*}.words")"
    fi
    say "$name died, and with it the container: $why"
    exit $((code ? code : 1)) # a server that stops unasked has failed, whatever it says
}

# Asked to stop. /ping says 503 from now on, and the port stays open so that whoever has not heard of
# it is not refused: new workers take over, the old ones finish what they have. When they have, nginx
# closes the port and finishes what came meanwhile. The engines go last.
drain() {
    local deadline=$((SECONDS + drain_seconds)) nginx=${started[0]} old pid
    say "asked to stop: /ping says 503, what is in flight has $drain_seconds s"
    unset "title[$nginx]" # it may go now
    old=$(workers "$nginx")
    # readiness.js looks for it; a disk without room for it is no reason to drop anybody
    : >"$run/stopping" || say "$run/stopping: cannot be written, so that /ping says nothing of it"
    kill -HUP "$nginx" || true
    for pid in $old; do
        until_gone "$pid" "$deadline" || break
    done
    kill -QUIT "$nginx" || true
    until_gone "$nginx" "$deadline" || say "not finished within $drain_seconds s: dropped"
    title=()
    kill -TERM "${started[@]:1}" || true
    for pid in "${started[@]:1}"; do
        until_gone "$pid" "$((SECONDS + 2))" || true
    done
    exit 0
}

workers() { # PARENT: its children, by /proc, because not every base has pgrep
    local stat line
    for stat in /proc/[0-9]*/stat; do
        { read -r line <"$stat"; } 2>/dev/null || continue # gone meanwhile
        if [[ ${line##*) } == ?" $1 "* ]]; then # its name, in brackets, may hold anything
            stat=${stat%/stat}
            echo "${stat##*/}"
        fi
    done
}

until_gone() { # PROCESS SECONDS
    while alive "$1"; do
        if ((told > 1)); then
            say "asked again: all is dropped"
            exit 143
        fi
        ((SECONDS < $2)) || return 1
        bury_the_dead
        nap 0.05
    done
}

# However we leave: whoever is left is ended, with all that it started, and its words are heard.
leave() {
    local pid
    trap '' TERM INT
    disown -a # as above
    for pid in "${started[@]}"; do
        kill -KILL -- "-$pid" 2>/dev/null || kill -KILL "$pid" 2>/dev/null || true
    done
    for pid in "${started[@]}"; do
        heard "$pid"
    done
    rm -rf "${run:-}"
}
