# Finds the models to serve, in any of the known folder layouts. Sourced by serve.
# shellcheck shell=bash
# shellcheck disable=SC2034  # used by other files
# shellcheck disable=SC2154  # set by environment.sh

# Sets `names`, the default model first; for each its `folder`, and its `versions` in the syntax of the
# model server's configuration, empty if the folder itself is the SavedModel. Rejects duplicate names
# and names that do not fit into a URL.
find_models() {
    local file at name number root
    declare -gA folder=() versions=()
    find_saved_models
    root=$model_root
    if [[ ${root##*/} =~ ^[0-9]+$ && ${saved_models[0]%/*} == "$root" ]]; then
        root=${root%/*} # PETBOX_MODELS names one version of a model
    fi
    for file in "${saved_models[@]}"; do
        number='' at=${file%/*}
        if [[ $at != "$root" && ${at##*/} =~ ^[0-9]{1,18}$ ]]; then
            number=$((10#${at##*/})) # 00007 is version 7
            at=${at%/*}
        fi
        name=${at##*/}
        [[ $at != "$root" ]] || name=model
        [[ $name =~ ^[A-Za-z0-9][A-Za-z0-9._-]*$ ]] ||
            reject_models "$at: not a valid model name; use letters, digits and . _ -"
        if [[ -n ${folder[$name]:-} ]] &&
            [[ ${folder[$name]} != "$at" || -z $number || -z ${versions[$name]:-} ]]; then
            reject_models "two models are named $name: ${folder[$name]} and $at"
        fi
        if [[ -n $number && " ${versions[$name]:-} " == *" $number "* ]]; then
            reject_models "two folders in $at are version $number"
        fi
        folder[$name]=$at
        [[ -z $number ]] || versions[$name]+="${versions[$name]:+ versions: }$number"
    done
    default_model=${default_model:-$(sorted "${!folder[@]}" | head -n 1)}
    if [[ -z ${folder[$default_model]:-} ]]; then
        reject_models "SAGEMAKER_TFS_DEFAULT_MODEL_NAME=$default_model: there is no model of this name"
    fi
    mapfile -t names < <(echo "$default_model" && sorted "${!folder[@]}" | grep -vxF "$default_model")
}

sorted() { printf '%s\n' "$@" | LC_ALL=C sort; }

# Sets `saved_models`, and `model_root`, the first of `model_roots` that is not empty: a model that was
# provided but cannot be read is never replaced by the one in the image.
find_saved_models() {
    for model_root in "${model_roots[@]}"; do
        model_root=$(realpath -ms -- "$model_root")
        mapfile -d '' saved_models < <(find -L "$model_root" -maxdepth 6 -type f \
            \( -name saved_model.pb -o -name saved_model.pbtxt \) -print0 2>/dev/null | LC_ALL=C sort -z)
        if ((${#saved_models[@]})); then
            return
        fi
        if [[ -n $(find -L "$model_root" -mindepth 1 2>/dev/null | head -n 1) ]] ||
            [[ -d $model_root && ! -r $model_root ]]; then
            reject_models "no SavedModel in $model_root"
        fi
    done
    reject_models "no SavedModel in ${model_roots[*]}"
}

reject_models() { # REASON: prints it with the actual and the expected files, and exits
    say "$1"
    say "found:"
    find -L "${model_roots[@]}" -maxdepth 4 2>&1 | LC_ALL=C sort | head -n 30 | sed 's/^/serve:   /' >&2 || true
    say "expected, in ${model_roots[0]}:"
    say "  1/saved_model.pb                 one model and its version number"
    say "  NAME/1/saved_model.pb            one or several models by name"
    say "  export/Servo/1/saved_model.pb    as exported by TensorFlow's estimators"
    say "  saved_model.pb                   without a version folder; served as version 1"
    exit 1
}
