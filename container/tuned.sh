# Takes the settings that `petbox tune --write` measured on a machine like this one. Sourced by serve.
# shellcheck shell=bash disable=SC2154  # other files set the variables

tunable='SAGEMAKER_TFS_(INTRA_OP_PARALLELISM|INTER_OP_PARALLELISM|ENABLE_BATCHING|MAX_BATCH_SIZE|BATCH_TIMEOUT_MICROS)'
tunable="($tunable|PETBOX_MAX_IN_FLIGHT)"

# Sets the variables of the model's assets.extra/tuning.ini that the user has not set. The file has a section for each
# machine. It was measured with one model and one model server, and counts for no more.
take_tuning() {
    local file machine line section='' first='' found=0 taken=()
    # the newest version's
    file=$(find -L "$links/${names[0]}" -mindepth 3 -maxdepth 3 -path '*/assets.extra/tuning.ini' 2>/dev/null |
        sort -V | tail -n 1)
    [[ -n $file ]] && ((${#names[@]} == 1 && server_count == 1)) || return 0
    file=$(readlink -f "$file")
    machine=$(describe_machine)
    while IFS= read -r line || [[ -n $line ]]; do
        if [[ $line == \[*\] ]]; then
            section=${line:1:-1} first=${first:-$section}
            [[ $section != "$machine" ]] || found=1
        elif [[ $section == "$machine" && $line == [!#]* ]]; then
            take_setting "$line"
        fi
    done < <(cat "$file")
    if ((${#taken[@]})); then
        say "took ${taken[*]} from $file, measured on such a machine"
        read_tunables
        ((!invalid)) || exit 1
    elif ((!found)); then
        say "$file: ignored; it is of ${first:-no machine}, and this is $machine"
    fi
}

take_setting() { # NAME=VALUE
    local name=${1%%=*}
    if [[ ! $1 =~ ^$tunable=(true|false|[0-9]+)$ ]]; then
        say "$file: $1: not a setting that petbox tune writes; ignored"
    elif [[ -z ${!name:-} ]]; then
        export "${1?}"
        taken+=("$1")
    fi
}

describe_machine() { # petbox tune reads it from the plan that serve prints
    local model
    model=$(sed -n '/^model name[[:space:]]*: /{s///p;q}' /proc/cpuinfo)
    echo "${model:-$(uname -m)}, $cpus CPUs, ${#gpus[@]} GPUs"
}
