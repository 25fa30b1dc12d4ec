#!/usr/bin/env bash
# The app's files in the folder $1, once: a tree as awkward as a file system allows. Needs root and GNU tools.
set -euo pipefail
cd "$1"
[ ! -e .complete ] || exit 0
find . -mindepth 1 -delete

# Content: noise that nothing compresses, text that everything does, many small files.
mkdir -p photos logs many
for number in 1 2 3 4; do head -c 8M /dev/urandom >"photos/IMG_000$number.jpg"; done
seq -f 'GET /shop/%.0f 200' 1000000 >logs/access.log
for number in $(seq 500); do echo "note $number" >"many/$number"; done
: >logs/empty

# Names.
mkdir -p names/' leading and trailing ' names/empty names/-rf
echo dash >names/-rf/--help
echo space >'names/ leading and trailing / '
echo line >$'names/two\nlines'
echo tab >$'names/a\ttab\\and a backslash'
echo quotes >"names/it's \"quoted\" \$HOME *?[a]"
echo letters >'names/Ünïcödé ñandú 日本語 🎉'
echo decomposed >$'names/e\xcc\x81 and \xc3\xa9'
echo latin >$'names/not UTF-8: \xf1'
long=$(printf 'l%.0s' {1..200})
mkdir -p "names/$long/$long"
echo long >"names/$long/$(printf 'f%.0s' {1..255})"
echo deep >"names/$long/$long/a path beyond every old limit of tar"
echo hundred >"names/$(printf 'h%.0s' {1..101})"

# Links, pipes and holes.
mkdir -p links
ln -s ../logs/access.log links/relative
ln -s /etc/hostname links/absolute
ln -s nowhere/to/be/found links/dangling
ln -s "$long/$long" links/long
ln -s ../names links/folder
echo one >links/first
ln links/first links/second
ln links/first names/third
mkfifo -m 620 links/pipe
truncate --size=256M links/sparse
printf middle | dd of=links/sparse bs=1 seek=100M conv=notrunc status=none

# Owners and modes; a change of owner clears setuid, so modes come last.
mkdir -p modes/sticky modes/closed modes/shared
for mode in 0000 0400 0640 0777 1644 2755 4755 6711; do
    echo "$mode" >"modes/$mode"
    chown 4242:100000 "modes/$mode"
    chmod "$mode" "modes/$mode"
done
chown --no-dereference 1234:5678 links/dangling links/pipe modes/closed
chown 4000000000:4000000000 modes/shared
chmod 1777 modes/sticky
chmod 0000 modes/closed
chmod 2770 modes/shared

# Times, the folders' last: before 1970, after 2038, and below a second.
touch --date='1969-07-20 20:17:40.123456789 UTC' photos/IMG_0001.jpg
touch --date='2099-12-31 23:59:59.999999999 UTC' photos/IMG_0002.jpg
touch --date='2001-09-09 01:46:40.000000001 UTC' logs/access.log
touch --no-dereference --date='1999-12-31 23:59:59.5 UTC' links/dangling names names/empty modes/closed
: >.complete
