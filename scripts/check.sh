#!/usr/bin/env bash
# Checks style, types, shell scripts, Dockerfiles, templates, workflows and nginx.conf. usage: scripts/check.sh
set -Eeuo pipefail
cd "$(dirname "$0")/.."

ruff check --quiet . container/train
ruff format --check --quiet . container/train
mypy & # takes as long as all the others
types=$!
git ls-files -z -- '*.sh' container/serve bench/all .ci/run | xargs -0 shellcheck
hadolint container/Dockerfile container/train.Dockerfile serverless/detector.Dockerfile \
  serverless/zoo/Dockerfile
cfn-lint serverless/*.yaml docs/workflows/roles.yaml
actionlint docs/workflows/*.yml
if command -v sam >/dev/null; then # it takes a gigabyte, so it is not in .venv
  for template in serverless/*.yaml; do
    SAM_CLI_TELEMETRY=0 sam validate --lint --region us-east-1 --template "$template" >/dev/null
  done
fi
# The file as it is; nginx writes under build/.
mkdir -p build/nginx
nginx -t -q -p "$PWD/build/nginx" -c "$PWD/container/nginx.conf"
pytest --quiet tests/test_layout.py
wait "$types"
