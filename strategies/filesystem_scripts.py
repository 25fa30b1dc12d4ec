"""The shell that exchanges files in a container: POSIX, and tools that GNU and BusyBox have.

Each text follows `PLACES`; whatever ends one in the middle, `BACK` makes good, also twice.
"""

# Each place is its number and its path: `3/srv/data`. What is exchanged are all entries of `$folder`, or the `$only`
# one where the place is no folder; `$stage` is the restore's own folder there, `$time` a file of the folder's time.
PLACES = r"""
id=$1 root=$2 fixed=$3 mirror=$4 exclude=$5
shift 5
IFS='
'
there() { [ -e "$1" ] || [ -L "$1" ]; }
is_folder() { [ -d "$1" ] && [ ! -L "$1" ]; }
is_in() { case $2 in *"
$1
"*) ;; *) false ;; esac; }
mounts=$(while IFS=' ' read -r _ _ _ _ mounted _; do
    case $mounted in *\\*) mounted=$(printf %b "$(printf %s "$mounted" | sed 's/\\/\\0/g')") ;; esac
    printf '%s\n' "$mounted"
done </proc/self/mountinfo)
mounts="
$mounts
"
for shelf in "${TMPDIR:-/tmp}" /dev/shm; do [ ! -w "$shelf" ] || break; done
locate() {
    path=/${1#*/} folder=/${1#*/} only= own=.backup-sidecar-aside-$id-${1%%/*}
    if [ -d "${path%/*}/$own" ] || ! is_folder "$path"; then folder=${path%/*} only=${path##*/}; fi
    stage=$folder/$own time=$shelf/$own written=$folder/.backup-sidecar-written-$id-${1%%/*}
    [ -n "$folder" ] || folder=/
}
stays() {
    case ${1##*/} in
        lost+found | ".backup-sidecar-aside-$id"-* | ".backup-sidecar-written-$id"-*) ;;
        *) is_in "$1" "$mounts$fixed" ;;
    esac
}
stays_here() { stays "${folder%/}/${1##*/}"; }
each() {
    from=$1 does=$2 skips=$3
    set --
    for entry in "$from"/* "$from"/.[!.]* "$from"/..?*; do
        ! there "$entry" || "$skips" "$entry" || set -- "$@" "$entry"
        [ $# -lt 200 ] || { "$does" "$@" || return; set --; }
    done
    [ $# = 0 ] || "$does" "$@"
}
into() { mv -f "$@" "$to/"; }
shelve() {
    slot=1
    while [ -e "$written/$slot" ]; do slot=$((slot + 1)); done
    mkdir -p "$written/$slot"
}
rescued() {
    below=${1%/*}
    case $below in "$stage"/*) below= ;; *) below=${below#"${folder%/}"} ;; esac
    shelve && mkdir -p "$written/$slot$below" && mv -f "$@" "$written/$slot$below/"
}
# Into `$to`, where somebody may just have made something of that name, which is set aside.
placed() {
    mv -n "$@" "$to/" 2>/dev/null
    for one; do
        tries=0
        while there "$one"; do
            tries=$((tries + 1))
            [ "$tries" -lt 50 ] || { mv -f "$one" "$to/"; return; }
            ! there "$to/${one##*/}" || rescued "$to/${one##*/}" || return
            mv -n "$one" "$to/" 2>/dev/null
        done
    done
}
tell_rescued() {
    [ ! -d "$written" ] || echo "written-meanwhile: what was written while files were exchanged is in $written"
}
timed() { touch -r "$time" "$folder" 2>/dev/null; rm -f "$time"; }
"""
LOAD = r"""
for place; do
    locate "$place"
    for mounted in $mounts; do
        case $mounted in "$path"/*/*) stays "${mounted%/*}" || {
            echo "$mounted is mounted below $path, and is no volume of the container's; restore with --into" >&2
            exit 1
        } ;; esac
    done
    made= above=$folder
    while [ ! -d "$above" ]; do made=$above above=$(dirname "$above"); done
    mkdir -p "$folder" || exit
    touch -r "$folder" "$time" 2>/dev/null
    mkdir -m 700 "$stage" && printf %s "$made" >"$stage/made" || exit
    touch -r "$time" "$folder" 2>/dev/null
done
run=$stage/run
mkdir "$run" || exit
"""
PARTS = r"""
for place; do
    locate "$place"
    part=$run${path#"$root"}
    if [ -n "$only" ]; then
        mkdir "$stage/new" && mv "$part" "$stage/new/" || exit
    elif is_folder "$part"; then
        mv "$part" "$stage/new" && mkdir "$stage/will" && like "$stage/new" "$stage/will" || exit
    elif there "$part"; then
        echo "$path is a folder, and in the run it is none; move it away, or restore with --into" >&2
        exit 1
    fi
done
rm -rf "$run"
sync 2>/dev/null || :
"""
# What the run does not know, and what is excluded, gets a second name among the new; a copy where that cannot be.
KEEP = r"""
excluded() {
    set -f
    for pattern in $exclude; do
        at=${1#"$root"} rest=${pattern#/}
        above=${at%/*}
        while case $rest in */*) ;; *) false ;; esac; do above=${above%/*} rest=${rest#*/}; done
        case $pattern in /*) [ -z "$above" ] || continue ;; esac
        case ${at#"$above"/} in ${pattern#/}) set +f; return ;; esac
    done
    set +f
    return 1
}
known() { stays "$1" || there "$to/${1##*/}" || { [ -n "$mirror" ] && ! excluded "$1"; }; }
copied() {
    for one; do
        rm -rf "$to/${one##*/}"
        cp -a "$one" "$to/" || ! there "$one" || return
    done
}
made_like() { [ -d "$2" ] || { made_like "${1%/*}" "${2%/*}" && mkdir "$2" && like "$1" "$2"; }; }
linked() {
    made_like "$from" "$to" && touch -r "$to" "$stage/time" || return
    cp -al "$@" "$to/" 2>/dev/null || copied "$@" || return
    touch -r "$stage/time" "$to"
}
keep() {
    for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        if ! there "$entry" || stays "$entry"; then
            continue
        elif excluded "$entry"; then
            rm -rf "$2/${entry##*/}"
        elif is_folder "$entry" && { is_folder "$2/${entry##*/}" ||
            { [ -n "$mirror" ] && ! there "$2/${entry##*/}"; }; }; then
            keep "$entry" "$2/${entry##*/}" || return
        fi
    done
    to=$2
    each "$1" linked known
}
for place; do
    locate "$place"
    [ ! -d "$stage" ] || : >"$stage/since" || exit
done
# A `find` that knows no parts of a second (BusyBox) finds what is written from the next one on.
: >"$stage/later" && [ -n "$(find "$stage/later" -newer "$stage/since")" ] || sleep 1
for place; do
    locate "$place"
    [ -z "$only" ] && { [ -d "$stage/new" ] || [ -n "$mirror" ]; } || continue
    { [ -n "$mirror" ] && [ -z "$exclude" ]; } || keep "$folder" "$stage/new" || exit
done
"""
# A file that is mounted by itself can only be written into. What somebody writes while the place is empty is set aside,
# and what is new since `KEEP` looked comes along.
SWAP = r"""
late() {
    find "$stage/old" ! -type d -newer "$stage/since" 2>/dev/null | while IFS= read -r one; do
        rest=${one#"$stage/old/"}
        [ ! "$one" -ef "$folder/$rest" ] || continue
        if ! there "$folder/$rest" && { ln "$one" "$folder/$rest" || cp -p "$one" "$folder/$rest"; } 2>/dev/null; then
            continue
        fi
        echo "written-meanwhile: the last that was written to ${folder%/}/$rest came too late to be kept"
    done
}
for place; do
    locate "$place"
    [ -d "$stage/new" ] || [ -n "$mirror" ] || continue
    mkdir "$stage/old" "$stage/like" || exit
    like "$folder" "$stage/like" || { echo "nobody can note what $folder itself is like" >&2; exit 1; }
    mv "$stage/like" "$stage/was" || exit
    if [ -z "$only" ]; then
        to=$stage/old && each "$folder" into stays_here && : >"$stage/in" || exit
        to=$folder && each "$stage/new" placed stays_here || exit
        [ -n "$mirror" ] || late
        [ ! -d "$stage/will" ] || like "$stage/will" "$folder" ||
            echo "not-set: $folder keeps its owner, mode and time, which only its owner may change"
    elif ! is_in "$path" "$mounts"; then
        { ! there "$path" || mv "$path" "$stage/old/"; } && : >"$stage/in" || exit
        to=$folder && placed "$stage/new/$only" || exit
    elif ! cmp -s "$stage/new/$only" "$path"; then
        cp -p "$path" "$stage/old/" && : >"$stage/in" && cp -p "$stage/new/$only" "$path" || exit
    fi
    tell_rescued
done
"""
# What was set aside by halves, since it could not be renamed, is whole together with what is still there; nothing was
# if there is `$stage/whole`. What somebody wrote to the new entries, or in the place of old ones, is set aside.
BACK = r"""
is_written() { find "$1" ! -type d -newer "$stage/since" 2>/dev/null | grep -q .; }
gone() { if mkdir -p "$stage/gone$$" 2>/dev/null; then mv -f "$@" "$stage/gone$$/"; else rm -rf "$@"; fi; }
rescue_gone() {
    for new in "$stage"/gone*/* "$stage"/gone*/.[!.]* "$stage"/gone*/..?*; do
        ! is_written "$new" || rescued "$new" || return
    done
}
are_folders() { is_folder "$1" && is_folder "$2"; }
remains() { are_folders "$1" "$2" || is_in "$2" "$mounts"; }
is_rest() {
    set -- "$1" "$to/${1##*/}"
    there "$2" && { remains "$1" "$2" || { [ ! -e "$stage/whole" ] && ! is_written "$2"; }; }
}
back() {
    to=${2%/}
    for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        at=$to/${entry##*/}
        ! there "$entry" || remains "$entry" "$at" || ! is_written "$at" || rescued "$at" || return
    done
    each "$1" placed is_rest || return
    for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        if are_folders "$entry" "$2/${entry##*/}"; then back "$entry" "$2/${entry##*/}" || return; fi
    done
}
for place; do
    locate "$place"
    if [ ! -e "$stage/in" ]; then
        :
    elif [ -z "$only" ]; then
        each "$folder" gone stays_here || exit
    elif is_in "$path" "$mounts"; then
        ! is_written "$path" || { shelve && cp -p "$path" "$written/$slot/"; } || exit
        cp -p "$stage/old/$only" "$path" || exit
    else
        ! there "$path" || gone "$path" || exit
    fi
    [ ! -e "$stage/in" ] || { rescue_gone && : >"$stage/whole"; } || exit
    rm -f "$stage/in"
    [ ! -d "$stage/old" ] || back "$stage/old" "$folder" || exit
    [ ! -d "$stage/was" ] || like "$stage/was" "$folder"
    [ -e "$time" ] || touch -r "$stage/was" "$time" 2>/dev/null
    above=$folder made=$(cat "$stage/made" 2>/dev/null)
    rm -rf "$stage" || exit
    timed
    [ -z "$made" ] || while rmdir "$above" && [ "$above" != "$made" ]; do above=${above%/*}; done 2>/dev/null
    tell_rescued
done
exit 0
"""
FINISH = r"""
for place; do
    locate "$place"
    touch -r "$folder" "$time" 2>/dev/null
    rm -rf "$stage" || exit
    timed
done
"""
COUNT = r"""
for place; do
    locate "$place"
    [ ! -d "$stage/new" ] || set -- "$@" ".$stage/new${only:+/$only}"
    shift
done
"""
ROOM = r"""
for place; do
    locate "$place"
    while [ ! -d "$folder" ]; do folder=$(dirname "$folder"); done
    df -Pk "$folder" || exit
done | grep -v '^Filesystem' | sort -n -k 4 | head -n 1
"""
