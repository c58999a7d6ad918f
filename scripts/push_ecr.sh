#!/usr/bin/env bash
# Builds an image and pushes it to ECR. Prints its URI with its digest.
# usage: scripts/push_ecr.sh [option ...] [-- option of docker build ...]
#   --repository NAME     in ECR, created if it is missing (default: petbox, petbox-train, …)
#   --model DIR           model to copy into the image, a folder of versions, or a detector of petbox convert (default: model/toy)
#   --cpu                 for instances without a GPU (default: with one)
#   --hooks               with Python, for the model's code/inference.py
#   --code DIR            with --hooks: the folder whose requirements.txt is installed (default: MODEL/code)
#   --train               the training image (container/train.Dockerfile) instead
#   --detector            the image for Lambda (serverless/detector.Dockerfile) instead
#   --zoo                 the training image of serverless/zoo instead
#   --base IMAGE          another base image than the one in the Dockerfile
#   --image IMAGE         push this image instead of building one
#   --architecture ARCH   of what runs it: amd64 (default) or arm64
#   --keep N              delete all but the newest N images, this one, and those that an endpoint or model uses
#   --allow-dirty         build from a checkout with uncommitted changes
#   --profile NAME        of ~/.aws/config (default: AWS_PROFILE)
#   --region NAME         of AWS (default: AWS_REGION, or the profile's)
#   --dry-run             print what would be done and change nothing
# PYTHON names a Python that has petbox (default: the checkout's .venv), DOCKER the client (default:
# docker, or else podman). Runs with macOS' bash 3.2 and BSD tools.
set -Eeuo pipefail
trap 'exit 130' INT

here=$(cd "$(dirname "$0")/.." && pwd -P)
readonly here
python=${PYTHON:-$here/.venv/bin/python}

say() { echo >&2 "push_ecr: $*"; }
fail() {
  say "$*"
  exit 1
}
usage() {
  say "$1; usage:"
  sed -nE 's/^#   (--)/  \1/p' "$0" >&2
  exit 2
}
ecr() { "$python" -m petbox.aws.ecr ${account[@]+"${account[@]}"} "$@"; }
finish() { ecr finish "$repository" "$built" --architecture "$architecture" ${keep:+--keep "$keep"}; }
digest() { git hash-object --stdin | cut -c 1-8; }
check_architecture() { # An image that the endpoint could not run is rejected here, not ten minutes later.
  local for_what
  for_what=$("$docker" image inspect --format '{{.Os}}/{{.Architecture}}' "$image")
  [[ $for_what == "linux/$architecture" ]] ||
    fail "$image: is for $for_what, not linux/$architecture; build it for linux/$architecture, or pass --architecture ${for_what#*/}"
}

account=()
kind=serving repository='' model='' cpu='' hooks='' code='' base='' engine='' image='' architecture=amd64 keep='' allow_dirty='' dry_run=''
while [[ $# -gt 0 ]]; do
  case $1 in
    --repository | --model | --code | --base | --image | --architecture | --keep)
      [[ $# -gt 1 ]] || usage "$1 needs a value"
      name=${1#--}
      printf -v "$name" %s "$2"
      shift 2
      ;;
    --profile | --region)
      [[ $# -gt 1 ]] || usage "$1 needs a value"
      account+=("$1" "$2")
      shift 2
      ;;
    --train | --detector | --zoo)
      [[ $kind == serving ]] || usage "--$kind and $1 exclude each other"
      kind=${1#--}
      shift
      ;;
    --cpu) cpu=1 && shift ;;
    --hooks) hooks=1 && shift ;;
    --allow-dirty) allow_dirty=1 && shift ;;
    --dry-run) dry_run=1 && shift ;;
    --) shift && break ;;
    --help) sed -nE '2,/^set /s/^# ?//p' "$0" && exit ;;
    *) usage "$1: unknown option" ;;
  esac
done
[[ $architecture == amd64 || $architecture == arm64 ]] ||
  usage "--architecture $architecture: must be amd64 or arm64"
[[ -z $cpu || -z $base$image ]] || usage "--cpu: has no effect with --base or --image"
[[ -z $hooks$model || -z $image ]] || usage "--model, --hooks: have no effect with --image"
[[ -z $hooks || $kind == serving ]] || usage "--hooks: has no effect with --$kind"
[[ -z $code || -n $hooks ]] || usage "--code: has no effect without --hooks"
[[ -z $cpu || $kind == serving || $kind == train ]] || usage "--cpu: has no effect with --$kind"
[[ -z $model || $kind == serving || $kind == detector ]] || usage "--model: has no effect with --$kind"
[[ -z $keep || $keep =~ ^[1-9][0-9]*$ ]] || usage "--keep $keep: must be a whole number from 1"
[[ -z $keep || ($kind != detector && $kind != zoo) ]] ||
  usage "--keep: does not know what Lambda and ECS use; delete old images yourself"
case $kind in
  serving) dockerfile=container/Dockerfile ;;
  train) dockerfile=container/train.Dockerfile ;;
  detector) dockerfile=serverless/detector.Dockerfile ;;
  zoo) dockerfile=serverless/zoo/Dockerfile ;;
esac
default=petbox-$kind
repository=${repository:-${default%-serving}}

# Checks, before anything is done

"$python" -c 'import petbox' 2>/dev/null ||
  fail "$python: petbox is not installed there; run make check, or set PYTHON to a Python that has it"
docker=${DOCKER:-docker}
[[ -n ${DOCKER:-} ]] || command -v docker >/dev/null || ! command -v podman >/dev/null || docker=podman
why=$("$docker" version 2>&1 >/dev/null | head -n 1) ||
  fail "Docker does not respond (${why:-$docker}); start it, or set DOCKER_HOST"

built='' # the tag: what the image contains
if [[ -n $image ]]; then
  id=$("$docker" image inspect --format '{{.Id}}' "$image" 2>/dev/null) ||
    fail "--image $image: no such image; build or pull it first"
  check_architecture
  revision=$("$docker" image inspect \
    --format '{{index .Config.Labels "org.opencontainers.image.version"}}' "$image")
  id=${id#sha256:}
  built=${revision:-image-${id:0:12}}
else
  commit=$(git -C "$here" rev-parse --short=12 HEAD 2>/dev/null) ||
    fail "$here: not a git checkout, so the image has no tag; push from a checkout, or pass --image"
  changes=$(git -C "$here" status --porcelain)
  if [[ -n $changes ]]; then
    [[ -n $allow_dirty ]] ||
      fail "uncommitted changes: $(head -n 3 <<<"$changes" | paste -sd ' ' -) ...; commit them, or pass --allow-dirty"
    commit+=-dirty-$({ git -C "$here" diff HEAD && echo "$changes"; } | digest)
  fi
  built=$commit
  if [[ $kind == serving || $kind == detector ]]; then
    model=${model:-model/toy}
    folder=$here/$model
    [[ -d $folder ]] || folder=$model
    newest=''
    for file in saved_model.pb model.xml model.tflite; do
      [[ -z $newest ]] || break
      for one in "$folder"/*/"$file"; do
        version=${one%/*} && version=${version##*/}
        if [[ -f $one && $version =~ ^[0-9]+$ ]] && { [[ -z $newest ]] || ((10#$version > 10#$newest)); }; then
          newest=$version
        fi
      done
    done
    [[ -n $newest || ! -f $folder/model.xml && ! -f $folder/model.tflite ]] || newest=.
    if [[ -n $newest && ! -f $folder/$newest/saved_model.pb ]]; then
      [[ $kind == serving ]] || # petbox convert's, for CPUs only
        fail "--model $model: a detector of petbox convert; a LiteRT one's function is a zip: scripts/package_lambda.sh detector"
      engine=litert cpu='' base=${base:-debian:12-slim}
      [[ ! -f $folder/$newest/model.xml ]] || engine=openvino
    fi
    [[ -n $newest ]] || fail "--model $model: contains no version (1/saved_model.pb); export one, or run make demo"
    folder=$(cd "$folder" && pwd -P)
    [[ $folder == "$here"/* ]] ||
      fail "--model $model: is outside $here, the build context; move or export it there"
    model=${folder#"$here"/}
    parts=("$folder/$newest") listing=$base
    [[ -z $hooks || ! -d $folder/code ]] || parts+=("$folder/code")
    if [[ -n $code ]]; then
      packages=$here/$code
      [[ -d $packages ]] || packages=$code
      [[ -f $packages/requirements.txt ]] ||
        fail "--code $code: contains no requirements.txt; write one with the packages of the model's code"
      packages=$(cd "$packages" && pwd -P)
      [[ $packages == "$here"/model/* ]] ||
        fail "--code $code: is outside $here/model, which the build reads; copy it there"
      code=${packages#"$here"/}
      parts+=("$packages")
    fi
    for one in "${parts[@]}"; do
      files=$(cd "$one" && find . -type f | LC_ALL=C sort)
      listing+=$files$(while IFS= read -r file; do echo "$one/$file"; done <<<"$files" |
        git hash-object --no-filters --stdin-paths)
    done
    built+=-${folder##*/}-${newest/./1}-$(printf %s "$listing" | digest)
  elif [[ -n $base ]]; then
    built+=-$(printf %s "$base" | digest)
  fi
  built+=${cpu:+-cpu}${hooks:+-hooks}
fi
[[ $architecture == amd64 || $built == *-$architecture ]] || built+=-$architecture

found=$(ecr find "$repository" "$built" ${keep:+--keep "$keep"} ${dry_run:+--dry-run})
{ read -r host && read -r reached_at && read -r there; } <<<"$found" || true
uri=$host/$repository
say "$uri:$built"
if [[ -n $there ]]; then
  say "already pushed"
  [[ -n $dry_run ]] || there=$(finish)
  echo "$uri@$there"
  exit
fi
if [[ -n $dry_run ]]; then
  [[ -n $image ]] || say "would build $dockerfile for linux/$architecture${model:+ with $model}${engine:+ and $engine}${base:+ on $base}${cpu:+ on the CPU base}${hooks:+ with Python for its code}${code:+ and the packages of $code}"
  say "would log in to $reached_at and push $uri:$built"
  exit
fi

# Building: into the client's own store, with Docker's media types and one manifest

build=(build) push=(push)
if [[ $("$docker" --version) == podman* ]]; then
  build=(build --format docker) push=(push --format v2s2)
elif "$docker" buildx version >/dev/null 2>&1; then
  build=(buildx build --output "type=docker,oci-mediatypes=false")
  export BUILDX_NO_DEFAULT_ATTESTATIONS=1
fi
if [[ -z $image ]]; then
  image=$uri:$built
  with=()
  if [[ $kind == serving || $kind == detector ]]; then
    with+=(--build-arg "MODEL=$model" ${engine:+--build-arg "ENGINE=$engine"})
  fi
  if [[ -n $hooks ]]; then # pip's variables as they are here, if they are set
    for name in HOOKS=1 ${code:+"CODE=$code"} PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST PIP_NO_INDEX; do
      with+=(--build-arg "$name")
    done
  fi
  if [[ -n $cpu && $kind == serving ]]; then
    with+=(--build-arg GPU=)
  elif [[ -n $cpu ]]; then
    base=$(sed -nE 's/^ARG BASE=(.*)-gpu$/\1/p' "$here/$dockerfile")
  fi
  "$docker" "${build[@]}" --platform "linux/$architecture" --file "$here/$dockerfile" \
    ${with[@]+"${with[@]}"} ${base:+--build-arg "BASE=$base"} \
    --label "org.opencontainers.image.version=$built" \
    --label "org.opencontainers.image.revision=${commit%%-*}" --tag "$image" "$@" "$here" >&2
fi

check_architecture
if [[ $kind == serving ]]; then
  # From the label of TensorFlow Serving's own images: the GPU ones do not start without a GPU.
  serves=$("$docker" image inspect \
    --format '{{index .Config.Labels "tensorflow_serving_github_branchtag"}}' "$image")
  # shellcheck disable=SC2016  # the image's shell expands it
  inside=$("$docker" run --rm --network=none --platform "linux/$architecture" --entrypoint /bin/sh "$image" -c \
    'cat /models/*/*/assets.extra/export.json 2>/dev/null; tensorflow_model_server --version 2>&1 || command -v petbox-model-server || true') ||
    fail "$image: has no /bin/sh; is it a serving image?"
  [[ -n $serves ]] || serves=$(sed -nE 's/.*TensorFlow (Library|ModelServer): */\1 /p' <<<"$inside" | tail -n 1)
  serves=$(grep -oE '[0-9]+\.[0-9]+' <<<"$serves" | head -n 1) || true
  wanted=$(sed -nE 's/^ *"tensorflow": *"([0-9]+\.[0-9]+).*/\1/p' <<<"$inside" | sort -u | paste -sd ' ' -)
  [[ -n $wanted ]] || # without a model that petbox exported, the pinned version
    wanted=$(sed -nE 's/.*"tensorflow>=([0-9]+\.[0-9]+).*/\1/p' "$here/pyproject.toml" | head -n 1)
  [[ -n $serves || $inside != */petbox-model-server* ]] || wanted='' # with another engine
  for one in $wanted; do
    [[ $one == "$serves" ]] ||
      fail "$image: serves with TensorFlow ${serves:-of an unknown version}, but its model needs $one; pass a --base with TensorFlow $one"
  done
fi

# Pushing, by the name that the login is for

ecr prepare "$repository" | "$docker" login --username AWS --password-stdin "$reached_at" >&2
"$docker" tag "$image" "$reached_at/$repository:$built"
"$docker" "${push[@]}" "$reached_at/$repository:$built" >&2
there=$(finish)
echo "$uri@$there"
