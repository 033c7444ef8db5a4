#!/usr/bin/env bash
# The whole path once: environment, archive, a real TorchServe on this machine, a rendered clip asked by REST and gRPC,
# the true timeline beside the predicted one, and a clean end.
#
#   scripts/demo.sh           everything, and the server is stopped at the end
#   scripts/demo.sh --keep    the server is left running, with the lines to try next
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
bash "$root/scripts/setup.sh"
unset PYTHONPATH PYTHONHOME
activity="$root/.venv/bin/activity"

keep=no
for argument in "$@"; do
  if [[ "$argument" == --keep ]]; then keep=yes; fi
done

# A run folder of its own: the demo meets no other server of this user, and can run twice.
run_dir="$(mktemp -d "${TMPDIR:-/tmp}/activity-demo.XXXXXX")"
finish() {
  local status=$?
  if [[ "$status" == 0 && "$keep" == yes ]]; then return; fi
  "$activity" stop --run-dir "$run_dir" > /dev/null 2>&1 || true
  if [[ "$status" == 1 && -d "$run_dir/logs" ]]; then
    echo "demo: it failed; the server's logs are in $run_dir/logs" >&2
  else
    rm -rf -- "$run_dir"
  fi
}
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

"$root/.venv/bin/python" -P -m cli.demo --run-dir "$run_dir" "$@"
