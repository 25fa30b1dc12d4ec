#!/bin/sh
# Restores a copy by plain tools: sh, jq, age, zstd, openssl; curl where FROM is an address.
#
#   sh restore.sh                                      lists the runs here
#   sh restore.sh KIT project/service [RUN] [FOLDER]   restores one into FOLDER/RUN, and compares every digest
#
# KIT is a file with the recovery kit. FROM=... names another place than the folder of this script. An address cannot be
# listed: name the RUN. Parts of a key are as below runs/: "%" and two hexadecimals stand for what is not a-z 0-9 _ -.
set -eu
from=${FROM:-$(dirname "$0")}

fail() { echo "restore.sh: $*" >&2; exit 1; }
get() {
    case $from in
        http://* | https://*) curl -fsS "$from/$(printf %s "$1" | sed 's/%/%25/g')" ;;
        *) cat "$from/$1" ;;
    esac
}
digest() { sha256sum "$1" | cut -c1-64; }
same() { [ "$1" = "$2" ] || fail "$3: SHA-256 $1, expected $2"; }

if [ $# -lt 2 ]; then
    [ -d "$from/runs" ] || fail "nothing can be listed at $from: name a target and a run"
    (cd "$from/runs" && find . -name run.json | sed 's,^\./,,; s,/run\.json$,,' | sort)
    exit 0
fi
kit=$1 target=$2 run=${3:-} into=${4:-restored}
[ -f "$kit" ] || fail "there is no file $kit"
if [ -z "$run" ]; then
    run=$(cd "$from/runs/$target" && ls -d -- *-*/run.json | sort | tail -n 1 | cut -d/ -f1)
    [ -n "$run" ] || fail "$target has no run here"
fi
case $run in *[!0-9a-fTZ-]*) fail "$run is no run" ;; esac

umask 077
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
grep '^AGE-SECRET-KEY-1' "$kit" >"$work/identity" || fail "$kit holds no line AGE-SECRET-KEY-1..."
get "runs/$target/$run/run.json" >"$work/file"
sed -n 1p "$work/file" | tr -d '\n' >"$work/run"
sed -n 2p "$work/file" | base64 -d >"$work/signature"

signed=no
for key in $(sed -n 's/^verify: *//p' "$kit"); do
    { printf '\060\052\060\005\006\003\053\145\160\003\041\000'; echo "$key" | base64 -d; } >"$work/key"
    if openssl pkeyutl -verify -pubin -keyform DER -inkey "$work/key" -rawin -in "$work/run" \
        -sigfile "$work/signature" >"$work/said" 2>&1; then signed=yes; fi
done
[ $signed = yes ] || fail "run.json is not signed by a key of the kit (line verify:)"
[ "$(jq -r .run "$work/run")" = "$run" ] || fail "run.json is that of another run"

mkdir -p "$into/$run"
jq -r .manifest.age "$work/run" | base64 -d | age -d -i "$work/identity" >"$into/$run/manifest.json"
same "$(digest "$into/$run/manifest.json")" "$(jq -r .manifest.sha256 "$work/run")" manifest.json

count=$(jq '.artifacts | length' "$work/run")
i=0
while [ "$i" -lt "$count" ]; do
    name=$(jq -r ".artifacts[$i].name" "$into/$run/manifest.json")
    case $name in */* | .* | "") fail "artifact $i has no name of a file" ;; esac
    : >"$into/$run/$name"
    for object in $(jq -r ".artifacts[$i].objects[].name" "$work/run"); do
        get "objects/base/$(echo "$object" | cut -c1-2)/$object" >"$work/object"
        same "$(digest "$work/object")" "$object" "object $object"
        age -d -i "$work/identity" "$work/object" >>"$into/$run/$name"
    done
    same "$(digest "$into/$run/$name")" "$(jq -r ".artifacts[$i].sha256" "$work/run")" "$name"
    case $(jq -r ".artifacts[$i].compression" "$into/$run/manifest.json") in
        zstd) unpack="zstd -dc" ;;
        gzip) unpack="gzip -dc" ;;
        *) unpack=cat ;;
    esac
    plain=$($unpack <"$into/$run/$name" | sha256sum | cut -c1-64)
    same "$plain" "$(jq -r ".artifacts[$i].plain_sha256" "$work/run")" "$name, unpacked"
    echo "$into/$run/$name"
    jq -r ".artifacts[$i].restore" "$into/$run/manifest.json" | sed 's/^/    /'
    i=$((i + 1))
done
