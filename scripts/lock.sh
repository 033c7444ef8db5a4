#!/usr/bin/env bash
# Compiles requirements.lock from pyproject.toml: exact versions with hashes for Python 3.11 to 3.13, no index named.
# Versions stay as they are where they still fit; `scripts/lock.sh --upgrade` takes the newest.
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
uv="$root/.venv/bin/uv"
if [[ ! -x "$uv" ]]; then
  echo "lock: $uv is missing; run scripts/setup.sh first." >&2
  exit 1
fi

cd -- "$root"
"$uv" pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-emit-index-url \
  --no-emit-find-links --extra dev "$@" pyproject.toml --output-file requirements.lock
if grep --quiet --extended-regexp 'https?://|file://|--(extra-)?index|--find-links' requirements.lock; then
  echo "lock: requirements.lock names an index or a file; compile it without those settings." >&2
  exit 1
fi
