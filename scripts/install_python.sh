#!/usr/bin/env bash
# Creates .venv with the packages of locks/dev.txt and petbox itself, or updates it after the lock changed.
# usage: [PYTHON=python3.11] scripts/install_python.sh
set -Eeuo pipefail
cd "$(dirname "$0")/.."

fits='import sys, venv, ensurepip; sys.exit(not (3, 10) <= sys.version_info[:2] <= (3, 12))'
python=
for candidate in ${PYTHON:-python3 python3.12 python3.11 python3.10}; do
  if command -v "$candidate" >/dev/null && "$candidate" -c "$fits" 2>/dev/null; then
    python=$candidate
    break
  fi
done
if [ -z "$python" ]; then
  echo >&2 "install_python: no Python 3.10, 3.11 or 3.12 with venv found" \
    "(${PYTHON:-python3 is $(python3 --version 2>&1)}); install one and run: PYTHON=python3.12 make demo"
  exit 1
fi

# A venv of another Python, or one that was moved, is created anew.
if ! .venv/bin/python -c "$fits" 2>/dev/null; then
  "$python" -m venv --clear .venv
fi
# The lock is complete, and leaves out requirements that are not needed (see pyproject.toml), hence
# --no-deps. The installers' own caches would be outside the checkout.
alone=(--quiet --no-deps --no-build-isolation)
pip=(.venv/bin/python -m pip install "${alone[@]}" --no-cache-dir --disable-pip-version-check
  --no-compile)
uv=(.venv/bin/uv pip install "${alone[@]}" --no-cache --no-progress --python .venv/bin/python)
install() { # with uv, which takes a fifth of the time, but does not read pip's settings
  "${uv[@]}" "$@" || {
    echo >&2 "install_python: uv cannot install these packages; installing them with pip"
    "${pip[@]}" "$@"
  }
}

echo >&2 "install_python: installing $(grep -c '==' locks/dev.txt) packages into .venv (about 1 GB to download)"
# Packages without a wheel are built with the locked tools, not with the newest of the day.
"${pip[@]}" --require-hashes --requirement <(sed -nE '/^(setuptools|uv|wheel)==/,/[^\\]$/p' locks/dev.txt)
install --require-hashes --requirement locks/dev.txt
install --editable ./
# Most of the modules are never imported. Those that every command with TensorFlow imports are
# compiled here, the others when they are.
PYTHONDONTWRITEBYTECODE='' .venv/bin/python -c 'import petbox.training.trainer, petbox.export.exporter'
.venv/bin/petbox --version
