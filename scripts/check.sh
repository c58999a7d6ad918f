#!/usr/bin/env bash
# Reads everything without running it: style, types, shell, Dockerfile, templates, nginx. usage: scripts/check.sh
set -Eeuo pipefail
cd "$(dirname "$0")/.."

ruff check --quiet . container/train
ruff format --check --quiet . container/train
mypy
git ls-files -z -- '*.sh' container/serve bench/all .ci/run | xargs -0 shellcheck
hadolint container/Dockerfile container/train.Dockerfile serverless/zoo/Dockerfile
cfn-lint serverless/template.yaml serverless/zoo/template-part.yaml
# As it lies; what nginx would write goes under build/.
mkdir -p build/nginx
nginx -t -q -p "$PWD/build/nginx" -c "$PWD/container/nginx.conf"
pytest --quiet tests/test_layout.py
