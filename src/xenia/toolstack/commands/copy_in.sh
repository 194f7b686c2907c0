# xenia cp: take files out of the tar archive on standard input. They are put in place once all of it has come.
# $1 an absolute path: a folder that is there, or the name of the only file; $2 whether there are several.
# Of a folder .xenia-cp.NUMBER what is in it is meant. A complaint begins with the path that it is of.
fail() { echo "$1" >&2; exit 1; }
each() { [ -e "$1" ] || [ -L "$1" ]; }
place() {
    if [ -d "$1" ] && [ ! -L "$1" ] && [ -d "$2" ]; then
        for inner in "$1"/* "$1"/.[!.]* "$1"/..?*; do
            if each "$inner"; then place "$inner" "$2/${inner##*/}" || return 1; fi
        done
    elif [ -d "$2" ] && [ ! -L "$2" ]; then
        fail "$2: a folder is there"
    elif [ -e "$2" ] && [ ! -f "$2" ] && [ ! -d "$2" ]; then
        fail "$2: neither a file nor a folder is there"
    else
        if [ -d "$2" ]; then rm -f "$2" || return 1; fi
        mv -f "$1" "$2"
    fi
}
if [ -d "$1" ]; then
    folder=$1 name=
else
    case $1 in */) set -- "$1" several ;; esac
    [ ! "$2" ] || fail "$1: no such folder in the guest"
    folder=${1%/*} name=${1##*/}
    folder=${folder:-/}
    [ -d "$folder" ] || fail "$folder: no such folder in the guest"
fi
[ -w "$folder" ] || fail "$folder: no permission to write there"
stage=$(mktemp -d "$folder/.xenia-cp.XXXXXX" 2>&1) || fail "$folder: nothing can be written there: ${stage##*: }"
trap 'rm -rf "$stage"' EXIT
trap 'exit 1' HUP INT TERM PIPE
tar -x -p -o -f - -C "$stage" || exit 1
for entry in "$stage"/* "$stage"/.[!.]* "$stage"/..?*; do
    each "$entry" || continue
    called=${name:-${entry##*/}}
    case $called in .xenia-cp.*) called= ;; esac
    place "$entry" "$folder${called:+/$called}" || exit 1
done
