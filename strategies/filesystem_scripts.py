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
    stage=$folder/$own time=$shelf/$own
    [ -n "$folder" ] || folder=/
}
stays() {
    case ${1##*/} in lost+found | ".backup-sidecar-aside-$id"-*) ;; *) is_in "$1" "$mounts$fixed" ;; esac
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
    [ -z "$only" ] && { [ -d "$stage/new" ] || [ -n "$mirror" ]; } || continue
    { [ -n "$mirror" ] && [ -z "$exclude" ]; } || keep "$folder" "$stage/new" || exit
done
"""
# A file that is mounted by itself can only be written into.
SWAP = r"""
for place; do
    locate "$place"
    [ -d "$stage/new" ] || [ -n "$mirror" ] || continue
    mkdir "$stage/old" "$stage/like" || exit
    like "$folder" "$stage/like" || { echo "nobody can note what $folder itself is like" >&2; exit 1; }
    mv "$stage/like" "$stage/was" || exit
    if [ -z "$only" ]; then
        to=$stage/old && each "$folder" into stays_here && : >"$stage/in" || exit
        to=$folder && each "$stage/new" into stays_here || exit
        [ ! -d "$stage/will" ] || like "$stage/will" "$folder" ||
            echo "not-set: $folder keeps its owner, mode and time, which only its owner may change"
    elif ! is_in "$path" "$mounts"; then
        { ! there "$path" || mv "$path" "$stage/old/"; } && : >"$stage/in" && mv "$stage/new/$only" "$path" || exit
    elif ! cmp -s "$stage/new/$only" "$path"; then
        cp -p "$path" "$stage/old/" && : >"$stage/in" && cp -p "$stage/new/$only" "$path" || exit
    fi
done
"""
# What was set aside by halves, since it could not be renamed, is whole together with what is still there.
BACK = r"""
gone() { rm -rf "$@"; }
is_there() { there "$to/${1##*/}"; }
back() {
    to=$2
    each "$1" into is_there || return
    for entry in "$1"/* "$1"/.[!.]* "$1"/..?*; do
        if is_folder "$entry" && is_folder "$2/${entry##*/}"; then back "$entry" "$2/${entry##*/}" || return; fi
    done
}
for place; do
    locate "$place"
    if [ ! -e "$stage/in" ]; then
        :
    elif [ -z "$only" ]; then
        each "$folder" gone stays_here || exit
    elif is_in "$path" "$mounts"; then
        cp -p "$stage/old/$only" "$path" || exit
    else
        rm -rf "$path" || exit
    fi
    rm -f "$stage/in"
    [ ! -d "$stage/old" ] || back "$stage/old" "$folder" || exit
    [ ! -d "$stage/was" ] || like "$stage/was" "$folder"
    [ -e "$time" ] || touch -r "$stage/was" "$time" 2>/dev/null
    above=$folder made=$(cat "$stage/made" 2>/dev/null)
    rm -rf "$stage" || exit
    timed
    [ -z "$made" ] || while rmdir "$above" && [ "$above" != "$made" ]; do above=${above%/*}; done 2>/dev/null
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
