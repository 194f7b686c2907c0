# xenia cp: write a file or folder of the guest's, as a tar archive, to standard output.
# $1 an absolute path; $2 whether it may be a folder; $3 whether its last name is to be in the archive; $4 types of file
# systems that tar cannot read, and $5 more that are left out where they are mounted in it: these are told on standard
# error, as "mounted: TYPE PATH", with spaces and backslashes in octal.
export LC_ALL=C TAR_OPTIONS=--format=gnu
fail() { printf '%s\n' "$1" >&2; exit 1; }
each() { [ -e "$1" ] || [ -L "$1" ]; }
# A path as mounts are listed with, in $listed; and back.
list() { listed=$1; case $1 in *[\\\ ]*) listed=$(printf '%s' "$1" | sed 's/\\/\\134/g; s/ /\\040/g') ;; esac; }
plain() { printf "$(printf '%s' "$1" | sed 's/%/%%/g')"; }
# A folder and nothing in it, as part of an archive.
alone() {
    [ "${#1}" -lt 100 ] || fail "$1: too long a path to a file system that is left out"
    tar --no-recursion -ch -f - "$1" | head -c 512
}
path=$1 named=$3
while :; do case $path in ?*/) path=${path%/} ;; *) break ;; esac; done
if [ -d "$path" ] && [ ! "$2" ]; then fail 'a folder, which -r copies'; fi
[ -e "$path" ] || fail 'no such file in the guest'
[ -r "$path" ] || fail 'permission denied'
[ -d "$path" ] || [ -f "$path" ] || fail 'neither a file nor a folder'
folder=${path%/*} base=./${path##*/} follow=h
if [ ! -d "$path" ]; then
    # tar goes by a file's size, which those of /proc do not tell.
    if [ ! -s "$path" ] && [ "$(head -c 1 "$path" 2>/dev/null | wc -c)" -gt 0 ]; then
        fail "its size is told as nothing, and there is something in it: 'xenia exec GUEST cat FILE' has it"
    fi
    cd "${folder:-/}" && exec tar -ch -f - "$base"
    exit 1
fi
if [ ! "$named" ] || [ "$path" = / ]; then folder=$path base=.; fi
if [ ! -L "$path" ] || [ "$base" = . ]; then follow=; fi
inside=$(cd "$path" && pwd -P) || exit 1
cd "${folder:-/}" || exit 1
list "${inside%/}"
inside=$listed own= left=
set -f
if [ -r /proc/self/mounts ]; then
    while read -r device place type rest; do
        case $inside/ in "${place%/}"/*) own=$type ;; esac
        case " $4 $5 " in *" $type "*) ;; *) continue ;; esac
        case $place in "$inside"/?*) ;; *) continue ;; esac
        for one in $left; do case $place in "$one" | "$one"/*) continue 2 ;; esac; done
        left="$left $place"
        printf 'mounted: %s %s\n' "$type" "$place" >&2
    done </proc/self/mounts
fi
case " $4 " in
*" $own "*) fail "the kernel makes its files up as they are read ($own): 'xenia exec GUEST cat FILE' has one" ;;
esac
[ "$left" ] || exec tar -c$follow -f - "$base"
# Not every tar leaves something out. It is told what to take: of folders on the way to what is left out, all else.
above=
for one in $left; do
    at=$inside rest=${one#"$inside"/}
    while case $rest in */*) ;; *) false ;; esac; do
        at=$at/${rest%%/*} rest=${rest#*/}
        case " $above " in *" $at "*) ;; *) above="$above $at" ;; esac
    done
done
for one in "$inside" $above $left; do
    name=$base$(plain "${one#"$inside"}")
    if [ -d "$name" ]; then alone "$name"; fi
done
# There may be more names than a command takes arguments.
names() {
    for one in "$inside" $above; do
        name=$base$(plain "${one#"$inside"}")
        set +f
        for entry in "$name"/* "$name"/.[!.]* "$name"/..?*; do
            list "${entry##*/}"
            case " $left $above " in
            *" $one/$listed "*) ;;
            *) if each "$entry"; then printf '%s\0' "$entry"; fi ;;
            esac
        done
        set -f
    done
}
case $(tar --help 2>&1) in
*--null*) names | tar -c$follow -f - --null -T -; exit ;;
esac
# Each part without its end, of two empty blocks. A file that two parts have by different names is there twice.
part='exec 4>&1
exit "$({ { tar -c$0 -f - "$@"; echo $? >&3; } | head -c -1024 >&4; } 3>&1)"'
names | xargs -0 -r sh -c "$part" "$follow"
status=$?
head -c 1024 /dev/zero
exit "$status"
