#!/usr/bin/env bash
# Everything that must hold: format, lint, types, tests. Arguments go to pytest: scripts/test.sh -k windows
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
bash "$root/scripts/setup.sh"
bash "$root/scripts/nginx.sh" || true # without it the tests of the front say that they were skipped, and why
cd -- "$root"
unset PYTHONPATH PYTHONHOME
unset PYTHONDONTWRITEBYTECODE # else each of the many processes that the tests start compiles torch's modules anew
bin="$root/.venv/bin"

say() { printf '\n== %s\n' "$*"; }

say "format (ruff format)"
"$bin/ruff" format --check .
say "lint (ruff check)"
"$bin/ruff" check .

# Beside the tests, which wait for servers now and then.
types="$(mktemp)"
"$bin/mypy" > "$types" 2>&1 &
mypy=$!
trap 'kill "$mypy" 2> /dev/null || true; rm -f -- "$types"' EXIT

say "tests (pytest)"
failed=""
"$bin/python" -m pytest -n 2 "$@" || failed="tests"
say "types (mypy --strict)"
wait "$mypy" || failed="$failed types"
cat -- "$types"
if [[ -n "$failed" ]]; then
  say "failed: $failed"
  exit 1
fi
say "all passed"
