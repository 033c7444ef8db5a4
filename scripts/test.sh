#!/usr/bin/env bash
# Everything that must hold: format, lint, types, tests. Arguments go to pytest: scripts/test.sh -k windows
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
bash "$root/scripts/setup.sh"
bash "$root/scripts/nginx.sh" || true # without it the tests of the front say that they were skipped, and why
cd -- "$root"
unset PYTHONPATH PYTHONHOME
bin="$root/.venv/bin"

say() { printf '\n== %s\n' "$*"; }

say "format (ruff format)"
"$bin/ruff" format --check .
say "lint (ruff check)"
"$bin/ruff" check .
say "types (mypy --strict)"
"$bin/mypy"
say "tests (pytest)"
"$bin/python" -m pytest "$@"
say "all passed"
