# The models to serve, found in whatever layout they lie. Sourced by serve.
# shellcheck shell=bash
# shellcheck disable=SC2034  # the others read what is found here
# shellcheck disable=SC2154  # environment.sh has read

# `names`, the default first; by name its `folder`, and its `versions` as the engine's configuration
# has them, empty where it lies bare. Two of one name, and names that no address can hold, are refused.
find_models() {
    local file at name number
    declare -gA folder=() versions=()
    find_saved_models
    for file in "${saved_models[@]}"; do
        number='' at=${file%/*}
        if [[ $at != "$place" && ${at##*/} =~ ^[0-9]{1,18}$ ]]; then
            number=$((10#${at##*/})) # 00007 is version 7
            at=${at%/*}
        fi
        name=${at##*/}
        [[ $at != "$place" ]] || name=model
        [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] ||
            wrong_models "$at: no name for a model; take letters, digits and . _ -"
        if [[ -n ${folder[$name]:-} ]] &&
            [[ ${folder[$name]} != "$at" || -z $number || -z ${versions[$name]:-} ]]; then
            wrong_models "two models are called $name: ${folder[$name]} and $at"
        fi
        if [[ -n $number && " ${versions[$name]:-} " == *" $number "* ]]; then
            wrong_models "two folders in $at are version $number"
        fi
        folder[$name]=$at
        [[ -z $number ]] || versions[$name]+="${versions[$name]:+ versions: }$number"
    done
    default_model=${default_model:-$(sorted "${!folder[@]}" | head -n 1)}
    if [[ -z ${folder[$default_model]:-} ]]; then
        wrong_models "SAGEMAKER_TFS_DEFAULT_MODEL_NAME=$default_model: no model is called so"
    fi
    mapfile -t names < <(echo "$default_model" && sorted "${!folder[@]}" | grep -vxF "$default_model")
}

sorted() { printf '%s\n' "$@" | LC_ALL=C sort; }

# `saved_models`, and `place`, the first of `places` that holds anything at all: a model that was
# sent and cannot be read is never passed over for the one in the image.
find_saved_models() {
    for place in "${places[@]}"; do
        place=$(readlink -m -- "$place")
        mapfile -d '' saved_models < <(find -L "$place" -maxdepth 6 -type f \
            \( -name saved_model.pb -o -name saved_model.pbtxt \) -print0 2>/dev/null | LC_ALL=C sort -z)
        if ((${#saved_models[@]})); then
            return
        fi
        if [[ -n $(find -L "$place" -mindepth 1 2>/dev/null | head -n 1) ]] ||
            [[ -d $place && ! -r $place ]]; then
            wrong_models "no SavedModel in $place"
        fi
    done
    wrong_models "no SavedModel in ${places[*]}"
}

wrong_models() { # why; the tree found and the tree wanted, and the end
    say "$1"
    say "found:"
    find -L "${places[@]}" -maxdepth 4 2>&1 | LC_ALL=C sort | head -n 30 | sed 's/^/serve:   /' >&2 || true
    say "wanted, in ${places[0]}:"
    say "  1/saved_model.pb                 one model and the number of its version"
    say "  NAME/1/saved_model.pb            one or several, each with its name"
    say "  export/Servo/1/saved_model.pb    as TensorFlow's estimators leave it"
    say "  saved_model.pb                   bare, taken as version 1"
    exit 1
}
