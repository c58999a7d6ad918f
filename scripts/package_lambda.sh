#!/usr/bin/env bash
# Builds the zips of the Lambda functions. Each contains what the function imports and nothing else.
# usage: scripts/package_lambda.sh [option ...] [http_front|s3_front|detector|zoo ...]   (default: all)
#   --model DIR           folder with model.tflite, added to detector.zip (default: none, it is in S3)
#   --python VERSION      of another runtime than the templates' (needs --out)
#   --architecture ARCH   x86_64 or arm64 (default: the templates' Architecture; another needs --out)
#   --out DIR             where NAME.zip goes (default: build/lambda)
# PYTHON names a Python with pip (default: the checkout's .venv). boto3 is left out: Lambda has it.
# If a Python of the runtime's version is installed, the code is compiled, and functions start faster.
set -Eeuo pipefail

here=$(cd "$(dirname "$0")/.." && pwd)
readonly here
runner=${PYTHON:-$here/.venv/bin/python}
readonly most=262144000 # Lambda's limit for an unpacked function, in bytes

fail() { echo >&2 "package_lambda: $1" && exit 1; }
usage() {
  echo >&2 "package_lambda: $1; usage:"
  sed -nE 's/^#   (--)/  \1/p' "$0" >&2
  exit 2
}

# The runtime that the templates deploy the zips with.
runtime=$(sed -nE 's/^ *Runtime: python([0-9.]+)$/\1/p' "$here"/serverless/*.yaml | sort --unique)
[[ $runtime =~ ^[0-9.]+$ ]] ||
  fail "serverless/*.yaml: name several runtimes (${runtime//$'\n'/, }); the zips fit one"
default=$(sed -nE '/^  Architecture:$/,/^    Default:/s/^    Default: (.*)/\1/p' "$here"/serverless/*.yaml | sort --unique)
[[ $default =~ ^[a-z0-9_]+$ ]] ||
  fail "serverless/*.yaml: name several architectures (${default//$'\n'/, }); the zips fit one"

model='' python=$runtime architecture=$default out=''
while [[ $# -gt 0 ]]; do
  case $1 in
    --model | --python | --architecture | --out)
      [[ $# -gt 1 ]] || usage "$1 needs a value"
      printf -v "${1#--}" %s "$2"
      shift 2
      ;;
    --help) sed -nE '2,/^set /s/^# ?//p' "$0" && exit ;;
    -*) usage "$1: unknown option" ;;
    *) break ;;
  esac
done
case $architecture in
  x86_64) platform=x86_64 ;;
  arm64) platform=aarch64 ;;
  *) usage "--architecture $architecture: must be x86_64 or arm64" ;;
esac
[[ $python == "$runtime" || -n $out ]] ||
  usage "--python $python: serverless/*.yaml deploy build/lambda with Python $runtime; pass --out as well"
[[ $architecture == "$default" || -n $out ]] ||
  usage "--architecture $architecture: serverless/*.yaml deploy build/lambda on $default, unless with Architecture=$architecture; pass --out as well"
out=${out:-$here/build/lambda}
[[ -z $model || -f $model/model.tflite ]] ||
  fail "$model: contains no model.tflite; create one: petbox convert --to litert"

# The rooms of petbox, or single files of one, that each function imports;
# tests/lambdas/test_lambda_zips.py compares.
rooms() {
  case $1 in
    http_front | s3_front) echo aws cli client images lambdas ;;
    detector) echo aws cli client data images lambdas litert {export,serving}/__init__.py \
      export/model_folder.py serving/in_process.py ;;
    zoo) ;;
    *) usage "$1: no such function; choose http_front, s3_front, detector or zoo" ;;
  esac
}
lock() { # of locks/
  case $1 in
    http_front | s3_front) echo "$1" ;;
    detector) echo detector_zip ;;
  esac
}
program() {
  case $1 in
    zoo) echo zoo/zoo_front.py ;;
    *) echo "$1.py" ;;
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

[[ $# -gt 0 ]] || set -- http_front s3_front detector zoo
for name; do rooms "$name" >/dev/null; done
mkdir -p "$out"
out=$(cd "$out" && pwd)
compiler=$(compiler)
[[ -n $compiler ]] ||
  echo >&2 "package_lambda: python$python is not installed, so the code is not compiled; each container starts some 0.2 s later"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# Prints the folder with the packages that a function imports, for Lambda's Python and processor
# whatever this machine's are. It is kept for the next build, until the lock or this script changes.
packages() {
  local lock=$here/locks/$1.txt tags=() tag key tree
  key=$({ cat "$lock" "$0" && echo "$python $platform $compiler"; } | sha256sum)
  tree=$here/build/lambda-packages/$1-${key:0:16}
  if [[ ! -d $tree ]]; then
    for tag in manylinux_2_28 manylinux_2_27 manylinux_2_24 manylinux_2_17 manylinux2014; do
      tags+=(--platform "${tag}_$platform")
    done
    "$runner" -m pip install --quiet --no-cache-dir --disable-pip-version-check --no-deps --no-compile \
      --only-binary=:all: --implementation cp --python-version "$python" "${tags[@]}" \
      --target "$work/packages" --require-hashes --requirement "$lock" >&2
    rm -rf "$work/packages/bin"
    strip "$work/packages"
    compile "$work/packages"
    mkdir -p "${tree%/*}"
    cp -R "$work/packages" "$tree.$$"
    mv --no-target-directory "$tree.$$" "$tree" 2>/dev/null || rm -r "$tree.$$" # another build was first
    rm -r "$work/packages"
  fi
  echo "$tree"
}
strip() { # removes what no function imports: tests, and LiteRT's tools and accelerators
  find "$1" -type d -name tests -prune -exec rm -r {} +
  rm -rf "$1"/ai_edge_litert/{aot,tools,vendors} "$1"/ai_edge_litert/*Accelerator.so
}
compile() { # Lambda's file system is read-only, so Python cannot keep what it compiles there
  [[ -z $compiler ]] ||
    "$compiler" -m compileall -q --invalidation-mode unchecked-hash -s "$1" -p /var/task "$1" >&2
}

for name; do
  tree=$work/$name
  mkdir "$tree"
  cp "$here/LICENSE" "$here/serverless/$(program "$name")" "$tree/"
  for room in $(rooms "$name"); do
    mkdir -p "$tree/petbox"
    cp "$here"/petbox/{__init__,errors,outputs,wire}.py "$tree/petbox/"
    (cd "$here/petbox" && find "$room" -name '*.py' -exec cp --parents {} "$tree/petbox/" \;)
  done
  compile "$tree"
  lock=$(lock "$name")
  if [[ -n $lock ]]; then
    found=$(packages "$lock")
    cp -R "$found/." "$tree/"
  fi
  if [[ $name == detector && -n $model ]]; then
    cp -RL "$model" "$tree/model"
  fi
  # The same content gives the same zip, so that an unchanged function is not deployed again.
  unpacked=$("$runner" - "$tree" "$work/$name.zip" "$most" <<'PYTHON'
import pathlib, sys, zipfile

tree, target, most = pathlib.Path(sys.argv[1]), sys.argv[2], int(sys.argv[3])
paths = sorted(path for path in tree.rglob("*") if path.is_file())
unpacked = sum(path.stat().st_size for path in paths)
print(unpacked)
if unpacked > most:
    sys.exit()
with zipfile.ZipFile(target, "w", zipfile.ZIP_DEFLATED) as archive:
    for path in paths:
        entry = zipfile.ZipInfo(path.relative_to(tree).as_posix())
        entry.external_attr = 0o644 << 16
        entry.compress_type = zipfile.ZIP_DEFLATED
        archive.writestr(entry, path.read_bytes())
PYTHON
  )
  ((unpacked <= most)) ||
    fail "$name: $((unpacked / 1000000)) MB unpacked, and Lambda's limit is 262 MB; leave the model in S3, or use the image"
  mv "$work/$name.zip" "$out/$name.zip"
  echo >&2 "package_lambda: $name.zip for Python $python on $architecture has $(($(stat --format=%s "$out/$name.zip") / 1000)) kB, $((unpacked / 1000)) kB unpacked"
  echo "$out/$name.zip"
done
