# Loads the models and shows what they take, for `serve check --load`. Sourced by serve.
# shellcheck shell=bash disable=SC2154  # other files set the variables

check_load() {
    : >"$run/report" && chmod 666 "$run/report" # the gateway writes into it
    model_server_command 0
    start "model server" "${command[@]}"
    until is_listening "${ports[0]}"; do # every model is loaded
        wait_for_progress
    done
    nginx_command
    start nginx "${command[@]}"
    until tail -n 1 "$run/report" | grep -q '^checked$\|^the check failed'; do
        wait_for_progress
    done
    sed '/^checked$/d' "$run/report"
    tail -n 1 "$run/report" | grep -q '^checked$'
}

wait_for_progress() { # exits if there will be none
    pause 0.1
    check_processes
    check_gpus
    ((!${#signals[@]})) || exit $((128 + $(kill -l "${signals[0]}")))
    [[ -z $failure ]] || {
        say "$failure"
        exit 1
    }
}
