# Finds the models that a multi-model endpoint is to load: nginx's worker, which is not root, may not
# have permission to. Sourced by serve.
# shellcheck shell=bash disable=SC2030,SC2031,SC2034,SC2154  # other files use and set variables too

# Sets `names` of what is loaded, and the folder through which the gateway, the model servers and we agree.
# The gateway writes the path of a model into NUMBER.find, and gets in NUMBER.found one of these lines:
#   200 BYTES FREE NAME VERSION...    of its files and of the memory; links to its versions are in NUMBER/NAME
#   STATUS REASON
make_multi_folder() {
    names=() model_root='POST /models' code=''
    mkdir -m 777 "$run/multi" # the gateway may not be root
}

find_requested_models() {
    local request
    for request in "$run"/multi/*.find; do
        if [[ -e $request ]]; then # else it is the pattern
            mv "$request" "${request%.find}.finding"
            answer_request "${request%.find}" &
        fi
    done
}

answer_request() { # multi/NUMBER
    local folder error found bytes
    folder=$(<"$1.finding")
    if [[ ! -d $folder ]]; then
        echo "404 $folder: no such folder"
    elif ((hooks)) && [[ -f $folder/code/inference.py ]]; then
        echo "400 $folder/code/inference.py: does not run on multi-model endpoints; set PETBOX_HOOKS=false to" \
            "serve the model without it"
    elif ! error=$(find_model "$folder" "$1" 2>&1); then
        say "${error//serve: /}"
        error=${error%%$'\n'*}
        echo "400 ${error#serve: }; put one model there that the image can serve, such as 1/saved_model.pb"
        rm -rf "$1"
    else
        found=("$1"/*)
        chmod 777 "$1" "${found[@]}" # so that the gateway can remove them
        bytes=$(du -Lsb "$1" | cut -f 1) || bytes=0
        count_free /sys/fs/cgroup
        echo "200 $bytes $free_bytes ${found[0]##*/} $(cd "${found[0]}" && echo *)"
    fi >"$1.finding"
    mv "$1.finding" "$1.found" 2>/dev/null || rm -rf "$1" # the gateway does not wait any more
}

find_model() { # FOLDER LINKS
    model_roots=("$1") links=$2 default_model=''
    find_models
    ((${#names[@]} == 1)) || reject_models "$1: several models: ${names[*]}"
}
