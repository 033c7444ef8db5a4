#!/usr/bin/env bash
# Makes .venv with the locked dependencies and this project. The other scripts call it; a second run has nothing to do
# and needs no network.
#
#   PYTHON=/path/to/python3.12   which Python to use (3.11, 3.12 or 3.13), in place of the first one found
#   UV_TORCH_BACKEND=cpu         smaller builds of torch for machines without a GPU (uv's own setting)
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
venv="$root/.venv"
stamp="$venv/activity-setup"

say() { printf 'setup: %s\n' "$*" >&2; }
fail() {
  say "$1"
  say "$2"
  exit 1
}

# What the user's shell sets for another Python must not reach this one.
unset PYTHONPATH PYTHONHOME VIRTUAL_ENV
export PIP_USER=0 PIP_DISABLE_PIP_VERSION_CHECK=1
export UV_HTTP_TIMEOUT="${UV_HTTP_TIMEOUT:-300}"

is_suitable='import sys, sysconfig
assert (3, 11) <= sys.version_info[:2] <= (3, 13) and not sysconfig.get_config_var("Py_GIL_DISABLED")'

find_python() {
  local candidate without_venv=""
  if [[ -n "${PYTHON:-}" ]]; then
    "$PYTHON" -c "$is_suitable" 2>/dev/null ||
      fail "PYTHON=$PYTHON is no Python 3.11, 3.12 or 3.13." "Name another one, or leave PYTHON out."
    set -- "$PYTHON"
  else
    set -- python3 python3.13 python3.12 python3.11 python
  fi
  for candidate in "$@"; do
    "$candidate" -c "$is_suitable" 2>/dev/null || continue
    if "$candidate" -c 'import ensurepip, venv' 2>/dev/null; then
      command -v -- "$candidate"
      return
    fi
    without_venv="$candidate"
  done
  if [[ -n "$without_venv" ]]; then
    fail "$without_venv cannot make virtual environments: its modules venv and ensurepip are missing." \
      "Install them (Debian, Ubuntu: the package python3-venv, or python3.X-venv of that version), or set PYTHON."
  fi
  fail "No Python 3.11, 3.12 or 3.13 was found." \
    "Install one with your system's packages or from python.org, or set PYTHON to the path of one."
}

# One line that changes whenever the environment must be made anew: the lock, the project's description, the Python,
# the place (scripts in .venv name it) and the wanted build of torch.
describe() {
  "$venv/bin/python" - "$root" "${UV_TORCH_BACKEND:-}" <<'PY'
import hashlib, pathlib, platform, sys
root, backend = pathlib.Path(sys.argv[1]), sys.argv[2]
parts = [(root / name).read_bytes() for name in ("requirements.lock", "pyproject.toml")]
parts += [platform.python_version().encode(), str(root).encode(), backend.encode()]
print(hashlib.sha256(b"\0".join(parts)).hexdigest())
PY
}

# The lines of the lock that name uv, so that even the installer has its exact version and hash.
locked_uv() { awk '/^uv==/ { found = 1; print; next } found && /^[^ \t#]/ { exit } found' "$root/requirements.lock"; }

# Called where a failure is handled, so that bash does not stop at one by itself: each command says `|| return`.
install() {
  local uv="$venv/bin/uv"
  cd -- "$root" || return
  locked_uv > "$venv/uv-requirement.txt" || return
  "$venv/bin/python" -m pip install --quiet --no-deps --require-hashes -r "$venv/uv-requirement.txt" || return
  if [[ -z "${UV_TORCH_BACKEND:-}" ]]; then
    "$uv" pip install --python "$venv/bin/python" --require-hashes -r requirements.lock || return
  else
    # Another build of torch has other hashes than the lock, which holds those of the ordinary builds: here the lock
    # settles the versions and the hashes are not checked.
    say "UV_TORCH_BACKEND=$UV_TORCH_BACKEND: versions as locked, hashes unchecked"
    "$uv" pip install --python "$venv/bin/python" --no-verify-hashes --constraints requirements.lock \
      --extra dev -r pyproject.toml || return
  fi
  "$uv" pip install --python "$venv/bin/python" --quiet --no-deps --no-build-isolation --editable .
}

main() {
  # Two scripts at once: the second waits for the first.
  exec 9< "${BASH_SOURCE[0]}"
  if command -v flock > /dev/null; then flock 9; fi

  if [[ -f "$stamp" && "$(describe 2>/dev/null)" == "$(cat -- "$stamp")" ]]; then
    return
  fi
  local python
  python="$(find_python)"
  say "making $venv with $("$python" --version) ($python)"
  say "the first time downloads about 3 GB, mostly torch; UV_TORCH_BACKEND=cpu is smaller, for machines without a GPU"
  "$python" -m venv --clear "$venv" ||
    fail "The virtual environment could not be made." "Check that $root can be written to and has 8 GB of space."
  install ||
    fail "The installation failed; the lines above say why." \
      "It needs a package index (a mirror: UV_DEFAULT_INDEX and PIP_INDEX_URL) and 8 GB of space. Then run it again."
  describe > "$stamp"
  say "done"
}

main "$@"
