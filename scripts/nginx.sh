#!/usr/bin/env bash
# Puts Debian's nginx into .venv/nginx, without root and without installing it: `activity front` finds it there. Nothing
# to do where an nginx is on the PATH or was fetched already.
set -euo pipefail

root="$(cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.." && pwd -P)"
target="$root/.venv/nginx"

fail() {
  printf 'nginx: %s\n' "$1" >&2
  exit 1
}

if command -v nginx > /dev/null || [[ -x "$target/usr/sbin/nginx" ]]; then exit 0; fi
if ! command -v apt-get > /dev/null || ! command -v dpkg > /dev/null; then
  fail "this is no Debian or Ubuntu; install nginx with your system's packages."
fi

scratch="$(mktemp -d)"
trap 'rm -rf -- "$scratch"' EXIT
cd -- "$scratch"
apt-get -qq download nginx > log 2>&1 || fail "it could not be downloaded; root may need to run apt-get update. $(tail -n 1 log)"
dpkg -x nginx_*.deb unpacked
./unpacked/usr/sbin/nginx -v 2> log || fail "it does not run here: $(tail -n 1 log)"
mkdir -p -- "$root/.venv"
rm -rf -- "$target"
mv -- unpacked "$target"
printf 'nginx: %s is in %s\n' "$(cut -d/ -f2 log)" "$target" >&2
