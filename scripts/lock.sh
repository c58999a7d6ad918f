#!/usr/bin/env bash
# Writes locks/*.txt from pyproject.toml: what each place installs, with the hash of every file.
# usage: scripts/lock.sh [option of uv pip compile ...]     (such as --upgrade; needs the package index)
# Packages that are locked already keep their version unless pyproject.toml or --upgrade asks for
# another. locks/dev.txt has them all, and fixes the versions of the others.
set -Eeuo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-.venv/bin/python}
"$python" -m pip install --quiet --disable-pip-version-check --target build/uv 'uv>=0.9'

compile() { # NAME OPTION...: writes locks/NAME.txt
  PYTHONPATH=build/uv "$python" -m uv pip compile --quiet --universal --python-version 3.10 \
    --generate-hashes --no-emit-index-url --no-annotate --no-header \
    --output-file "locks/$1.txt" "${@:2}"
}
except() { printf '%s\n' "$@"; }

compile dev --extra dev pyproject.toml "$@"

same=(--constraints locks/dev.txt)
compile train --extra aws --extra train pyproject.toml "${same[@]}"
# What the functions' packages require, and the functions never import.
compile http_front --group http_front "${same[@]}"
compile s3_front --group s3_front "${same[@]}"
compile detector_zip --group detector_zip "${same[@]}" \
  --excludes <(except backports-strenum flatbuffers ml-dtypes protobuf tqdm)
compile detector_image --group detector_image "${same[@]}" \
  --excludes <(except h5py keras libclang setuptools tensorboard wheel)
compile litert_image --group litert_image "${same[@]}" \
  --excludes <(except backports-strenum flatbuffers ml-dtypes tqdm)
compile openvino_image --group openvino_image "${same[@]}"
compile zoo --group zoo "${same[@]}"
