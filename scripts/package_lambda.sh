#!/usr/bin/env bash
# Builds the zips of the Lambda functions, each with what it imports and nothing else.
# usage: scripts/package_lambda.sh [option ...] [front ...]   (default: http_front s3_front)
#   --python VERSION      of Lambda's runtime (default: 3.12)
#   --architecture ARCH   x86_64 (default) or arm64, as Architecture in serverless/template.yaml
#   --out DIR             where NAME.zip goes (default: build/lambda)
# PYTHON names a Python with pip (default: the checkout's .venv). boto3 is not in them: Lambda has it.
# Where there is a Python of the runtime's version, the zips are compiled, and start sooner.
set -Eeuo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
readonly here
runner=${PYTHON:-$here/.venv/bin/python}

usage() {
  echo >&2 "package_lambda: $1; usage:"
  sed -nE 's/^#   (--)/  \1/p' "$0" >&2
  exit 2
}

python=3.12 architecture=x86_64 out=$here/build/lambda
while [[ $# -gt 0 ]]; do
  case $1 in
    --python | --architecture | --out)
      [[ $# -gt 1 ]] || usage "$1 wants a value"
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    --help) sed -nE '2,/^set /s/^# ?//p' "$0" && exit ;;
    -*) usage "$1: not understood" ;;
    *) break ;;
  esac
done
case $architecture in
  x86_64) platform=x86_64 ;;
  arm64) platform=aarch64 ;;
  *) usage "--architecture $architecture: Lambda has x86_64 and arm64" ;;
esac

# What each front imports; tests/test_lambda_zips.py finds what is missing or too much.
readonly both='__init__ aws client draw errors fitting lambda_settings photos picture_answer retrying wire'
modules() {
  case $1 in
    http_front) echo "$both safe_fetch" ;;
    s3_front) echo "$both picture_results" ;;
    *) usage "$1: no such front; there are http_front and s3_front" ;;
  esac
}
# What they import of others, as constraints.txt spells it; the first two are Powertools' own needs.
readonly common='jmespath|typing-extensions|aws-lambda-powertools|pillow'
more() {
  case $1 in
    http_front) echo python-multipart ;;
  esac
}
compiler() { # a Python of the runtime's version, if there is one
  local candidate
  for candidate in "$runner" "python$python"; do
    if "$candidate" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$python')" 2>/dev/null; then
      echo "$candidate" && return
    fi
  done
}
locked() { sed -nE "/^($1)==/,/[^\\\\]$/p" "$here/constraints.txt"; }

[[ $# -gt 0 ]] || set -- http_front s3_front
for front; do modules "$front" >/dev/null; done
mkdir -p "$out"
out=$(cd "$out" && pwd)
compiler=$(compiler)
[[ -n $compiler ]] ||
  echo >&2 "package_lambda: no python$python here to compile with; each container starts some 0.2 s later"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

install() { # packages into a folder, for Lambda's Python and processor whatever this machine's are
  "$runner" -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --no-compile \
    --only-binary=:all: --implementation cp --python-version "$python" \
    --platform "manylinux_2_28_$platform" --platform "manylinux_2_17_$platform" \
    --platform "manylinux2014_$platform" --target "$2" \
    --require-hashes --requirement <(locked "$1") >&2
  rm -rf "${2:?}/bin"
}
compile() { # Lambda cannot write what Python would keep
  [[ -z $compiler ]] ||
    "$compiler" -m compileall -q --invalidation-mode unchecked-hash -s "$1" -p /var/task "$1" >&2
}

install "$common" "$work/common"
compile "$work/common"
for front; do
  tree=$work/$front
  cp -R "$work/common" "$tree"
  mkdir "$tree/petbox"
  [[ -z $(more "$front") ]] || install "$(more "$front")" "$tree"
  for module in $(modules "$front"); do
    cp "$here/petbox/$module.py" "$tree/petbox/"
  done
  cp "$here/LICENSE" "$here/serverless/$front.py" "$tree/"
  compile "$tree"
  # The same content makes the same zip, so that what did not change is not deployed again.
  "$runner" - "$tree" "$out/$front.zip" <<'PYTHON'
import pathlib, sys, zipfile

tree, target = map(pathlib.Path, sys.argv[1:])
with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
    for path in sorted(path for path in tree.rglob("*") if path.is_file()):
        entry = zipfile.ZipInfo(path.relative_to(tree).as_posix())
        entry.external_attr = 0o644 << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, path.read_bytes())
PYTHON
  echo "$out/$front.zip"
done
