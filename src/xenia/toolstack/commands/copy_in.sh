# xenia cp: take files out of the tar archive on standard input. They are put in place once all of it has come.
# $1 an absolute path: a folder that is there, or the name of the only file; $2 whether there are several.
fail() { echo "$1" >&2; exit 1; }
each() { [ -e "$1" ] || [ -L "$1" ]; }
place() {
    if [ -d "$1" ] && [ ! -L "$1" ] && [ -d "$2" ]; then
        for inner in "$1"/* "$1"/.[!.]* "$1"/..?*; do
            if each "$inner"; then place "$inner" "$2/${inner##*/}" || return 1; fi
        done
    elif [ -d "$2" ] && [ ! -L "$2" ]; then
        fail "a folder is there: $2"
    elif [ -e "$2" ] && [ ! -f "$2" ] && [ ! -d "$2" ]; then
        fail "neither a file nor a folder is there: $2"
    else
        if [ -d "$2" ]; then rm -f "$2" || return 1; fi
        mv -f "$1" "$2"
    fi
}
if [ -d "$1" ]; then
    folder=$1 name=
else
    case $1 in */) set -- "$1" several ;; esac
    [ ! "$2" ] || fail "no such folder in the guest: $1"
    folder=${1%/*} name=${1##*/}
    folder=${folder:-/}
    [ -d "$folder" ] || fail "no such folder in the guest: $folder"
fi
[ -w "$folder" ] || fail "no permission to write there: $folder"
stage=$(mktemp -d "$folder/.xenia-cp.XXXXXX") || exit 1
trap 'rm -rf "$stage"' EXIT
trap 'exit 1' HUP INT TERM PIPE
tar -x -p -o -f - -C "$stage" || exit 1
for entry in "$stage"/* "$stage"/.[!.]* "$stage"/..?*; do
    if each "$entry"; then place "$entry" "$folder/${name:-${entry##*/}}" || exit 1; fi
done
