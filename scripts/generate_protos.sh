#!/usr/bin/env bash
# Generates the messages and stubs beside client/protos/*.proto (or below the folder given as the first argument).
# The same locked compiler gives the same files; a test compares them.
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
out="${1:-$root}"
python="${PYTHON:-$root/.venv/bin/python}"

if ! "$python" -c 'import grpc_tools' 2>/dev/null; then
  echo "generate_protos: $python lacks grpcio-tools; run scripts/setup.sh first, or set PYTHON." >&2
  exit 1
fi

mkdir -p "$out"
out="$(cd -- "$out" && pwd -P)"
cd -- "$root"
"$python" -m grpc_tools.protoc --proto_path=. \
  --python_out="$out" --pyi_out="$out" --grpc_python_out="$out" \
  client/protos/inference.proto client/protos/management.proto client/protos/open_inference.proto

# The service stubs come without annotations: mypy must not check what nobody writes by hand.
for stub in "$out"/client/protos/*_pb2_grpc.py; do
  { echo '# mypy: ignore-errors'; cat "$stub"; } > "$stub.tmp"
  mv "$stub.tmp" "$stub"
done
