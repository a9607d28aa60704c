#!/usr/bin/env bash
# Runs README's commands on a fresh clone of what is committed: fresh-clone.sh [--node 22] [--without-cargo] [COMMAND …]
# Commands default to 'npm start' and 'npm test', each after `npm ci`. Another Node than the one at hand comes from npm's `node` package.
set -euo pipefail
source=$(cd "$(dirname "$0")/../.." && pwd)
version=''
cargo=1
while [ $# -gt 0 ]; do
  case $1 in
    --node) version=$2; shift 2 ;;
    --without-cargo) cargo=0; shift ;;
    *) break ;;
  esac
done
[ $# -gt 0 ] || set -- 'npm start' 'npm test'

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
git clone --quiet "$source" "$folder/espalier"
if [ -n "$version" ]; then
  npm install --silent --no-save --prefix "$folder/node" "node@$version"
  PATH="$folder/node/node_modules/node/bin:$PATH"
fi
if [ "$cargo" -eq 0 ]; then
  # Every folder of the path that has a cargo is left out; what else stands in it is linked to.
  kept="$folder/without-cargo"
  mkdir "$kept"
  path=$kept
  IFS=: read -ra folders <<<"$PATH"
  for entry in "${folders[@]}"; do
    if [ -x "$entry/cargo" ]; then
      for tool in "$entry"/*; do
        case ${tool##*/} in cargo* | rustc | rustup) ;; *) ln -s "$tool" "$kept/" 2>/dev/null || true ;; esac
      done
    else
      path="$path:$entry"
    fi
  done
  PATH=$path
  unset CARGO_HOME RUSTUP_HOME
fi
export PATH CI=1 NX_TUI=false
cd "$folder/espalier"
echo "node $(node --version), npm $(npm --version), $(cargo --version 2>/dev/null || echo 'no cargo')"
npm ci
for command in "$@"; do
  begin=$SECONDS
  bash -c "$command"
  echo "=== $command: passed in $((SECONDS - begin)) s, $(node --version)$([ "$cargo" -eq 1 ] || echo ', without cargo')"
done
