# xenia cp: write a file or folder of the guest's, as a tar archive, to standard output.
# $1 an absolute path; $2 whether it may be a folder; $3 whether its last name is to be in the archive.
fail() { echo "$1" >&2; exit 1; }
path=$1
while :; do case $path in ?*/) path=${path%/} ;; *) break ;; esac; done
if [ -d "$path" ] && [ ! "$2" ]; then fail 'a folder, which -r copies'; fi
[ -e "$path" ] || fail 'no such file in the guest'
[ -r "$path" ] || fail 'permission denied'
if [ -d "$path" ] && [ ! "$3" ]; then
    cd "$path" && exec tar -c -f - .
    exit 1
fi
[ -d "$path" ] || [ -f "$path" ] || fail 'neither a file nor a folder'
# tar goes by a file's size, which those of /proc do not tell.
if [ -f "$path" ] && [ ! -s "$path" ] && [ "$(head -c 1 "$path" 2>/dev/null | wc -c)" -gt 0 ]; then
    fail "its size is told as nothing, and there is something in it: 'xenia exec GUEST cat FILE' has it"
fi
follow=h
[ -d "$path" ] && [ ! -L "$path" ] && follow=
folder=${path%/*}
cd "${folder:-/}" && exec tar -c${follow} -f - "./${path##*/}"
