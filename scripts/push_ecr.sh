#!/usr/bin/env bash
# Builds the serving image and pushes it to ECR. Prints its URI with its digest.
# usage: scripts/push_ecr.sh [option ...] [-- option of docker build ...]
#   --repository NAME     in ECR, created if it is missing (default: petbox)
#   --model DIR           model to copy into the image, a folder of versions (default: model/toy)
#   --cpu                 for instances without a GPU (default: with one)
#   --hooks               with Python, for the model's code/inference.py
#   --base IMAGE          another base image than the one in container/Dockerfile
#   --image IMAGE         push this image instead of building one
#   --architecture ARCH   of the endpoint's instances: amd64 (default) or arm64
#   --keep N              set a lifecycle policy that keeps only the newest N images
#   --allow-dirty         build from a checkout with uncommitted changes
#   --profile NAME        of ~/.aws/config (default: AWS_PROFILE)
#   --region NAME         of AWS (default: AWS_REGION, or the profile's)
#   --dry-run             print what would be done and change nothing
# PYTHON names a Python that has petbox (default: the checkout's .venv).
set -Eeuo pipefail
trap 'exit 130' INT

here=$(cd "$(dirname "$0")/.." && pwd)
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

account=()
repository=petbox model=model/toy cpu='' hooks='' base='' image='' architecture=amd64 keep='' allow_dirty='' dry_run=''
while [[ $# -gt 0 ]]; do
  case $1 in
    --repository | --model | --base | --image | --architecture | --keep)
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
[[ -z $hooks || -z $image ]] || usage "--hooks: has no effect with --image"
[[ -z $keep || $keep =~ ^[1-9][0-9]*$ ]] || usage "--keep $keep: must be a whole number from 1"

# Checks, before anything is done

"$python" -c 'import petbox' 2>/dev/null ||
  fail "$python: petbox is not installed there; run make check, or set PYTHON to a Python that has it"
why=$(docker info --format '{{.ServerVersion}}' 2>&1 >/dev/null) ||
  fail "Docker does not respond (${why%%$'\n'*}); start it, or set DOCKER_HOST"

built='' # the tag: what the image contains
if [[ -n $image ]]; then
  id=$(docker image inspect --format '{{.Id}}' "$image" 2>/dev/null) ||
    fail "--image $image: no such image; build or pull it first"
  revision=$(docker image inspect \
    --format '{{index .Config.Labels "org.opencontainers.image.version"}}' "$image")
  id=${id#sha256:}
  built=${revision:-image-${id:0:12}}
else
  version=$(find "$here/$model" "$model" -maxdepth 2 -path '*/[0-9]*/saved_model.pb' 2>/dev/null |
    sort -V | tail -n 1) || true
  [[ -n $version ]] || fail "--model $model: contains no version (1/saved_model.pb); export one, or run make demo"
  version=$(dirname "$version")
  [[ $(readlink -f "$version") == "$here"/* ]] ||
    fail "--model $model: is outside $here, the build context; move or export it there"
  model=$(realpath --relative-to="$here" "$(dirname "$version")")
  read=("$version") # and the code beside it, if the image runs it
  [[ -z $hooks || ! -d ${version%/*}/code ]] || read+=("${version%/*}/code")
  content=$(for folder in "${read[@]}"; do
    (cd "$folder" && find . -type f -print0 | sort -z | xargs -0 sha256sum)
  done | cat - <(printf %s "$base") | sha256sum)
  commit=$(git -C "$here" rev-parse --short=12 HEAD 2>/dev/null) ||
    fail "$here: not a git checkout, so the image has no tag; push from a checkout, or pass --image"
  changes=$(git -C "$here" status --porcelain)
  if [[ -n $changes ]]; then
    [[ -n $allow_dirty ]] ||
      fail "uncommitted changes: $(head -n 3 <<<"$changes" | paste -sd ' ') ...; commit them, or pass --allow-dirty"
    state=$({ git -C "$here" diff HEAD && echo "$changes"; } | sha256sum)
    commit+=-dirty-${state:0:8}
  fi
  built=$commit-$(basename "$model")-$(basename "$version")-${content:0:8}${cpu:+-cpu}${hooks:+-hooks}
fi

host=$(ecr registry)
uri=$host/$repository
say "$uri:$built"
settle() { ecr repository "$repository" ${keep:+--keep "$keep"} ${dry_run:+--dry-run}; }
there=$(ecr digest "$repository" "$built")
if [[ -n $there ]]; then
  settle
  say "already pushed"
  echo "$uri@$there"
  exit
fi
if [[ -n $dry_run ]]; then
  settle
  [[ -n $image ]] || say "would build container/Dockerfile for linux/$architecture with $model${base:+ on $base}${cpu:+ on the CPU base}${hooks:+ with Python for its code}"
  say "would log in to $host and push $uri:$built"
  exit
fi

# Building

if [[ -z $image ]]; then
  image=$uri:$built
  for_hooks=()
  if [[ -n $hooks ]]; then # pip's variables as they are here, if they are set
    for name in HOOKS=1 PIP_INDEX_URL PIP_EXTRA_INDEX_URL PIP_TRUSTED_HOST PIP_NO_INDEX; do
      for_hooks+=(--build-arg "$name")
    done
  fi
  docker build --platform "linux/$architecture" --file "$here/container/Dockerfile" \
    ${for_hooks[@]+"${for_hooks[@]}"} ${cpu:+--build-arg GPU=} ${base:+--build-arg "BASE=$base"} --build-arg "MODEL=$model" \
    --label "org.opencontainers.image.version=$built" \
    --label "org.opencontainers.image.revision=${commit%%-*}" --tag "$image" "$@" "$here" >&2
fi

# An image that the endpoint could not run is rejected here, not ten minutes later.
for_what=$(docker image inspect --format '{{.Os}}/{{.Architecture}}' "$image")
[[ $for_what == "linux/$architecture" ]] ||
  fail "$image: is for $for_what, not linux/$architecture; build it for linux/$architecture, or pass --architecture ${for_what#*/}"
# From the label of TensorFlow Serving's own images: the GPU ones do not start without a GPU.
serves=$(docker image inspect \
  --format '{{index .Config.Labels "tensorflow_serving_github_branchtag"}}' "$image")
# shellcheck disable=SC2016  # the image's shell expands it
inside=$(docker run --rm --network=none --entrypoint /bin/sh "$image" -c \
  'cat /models/*/*/assets.extra/export.json 2>/dev/null; tensorflow_model_server --version 2>&1 || true') ||
  fail "$image: has no /bin/sh; is it a serving image?"
[[ -n $serves ]] || serves=$(sed -nE 's/.*TensorFlow (Library|ModelServer): */\1 /p' <<<"$inside" | tail -n 1)
serves=$(grep -oE '[0-9]+\.[0-9]+' <<<"$serves" | head -n 1) || true
wanted=$(sed -nE 's/^ *"tensorflow": *"([0-9]+\.[0-9]+).*/\1/p' <<<"$inside" | sort -uV | paste -sd ' ')
[[ -n $wanted ]] || # without a model that petbox exported, the pinned version
  wanted=$(sed -nE 's/.*"tensorflow>=([0-9]+\.[0-9]+).*/\1/p' "$here/pyproject.toml" | head -n 1)
for one in $wanted; do
  [[ $one == "$serves" ]] ||
    fail "$image: serves with TensorFlow ${serves:-of an unknown version}, but its model needs $one; pass a --base with TensorFlow $one"
done

# Pushing

settle
ecr password | docker login --username AWS --password-stdin "$host" >&2
docker tag "$image" "$uri:$built"
docker push "$uri:$built" >&2
docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$uri:$built" |
  grep --max-count=1 --fixed-strings "$uri@"
