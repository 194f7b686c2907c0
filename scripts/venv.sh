# Sourced by ./xenia and ./test: makes the virtual environment .venv of this clone, as an ordinary user, and keeps it current.
#
#   prepare_venv EXTRAS     EXTRAS is "" or "[test]".  Afterwards $venv/bin has python, xenia and, with [test], the test tools.
#
# The package is installed editable: the compiled core is built inside src, once for both commands, and again only when a
# source of it is newer than the last build.  What Debian keeps in packages of their own (pip for virtual environments, Python's
# header files) is borrowed: fetched and unpacked into .venv, installed nowhere.

root=$(dirname -- "$(readlink -f -- "$0")")
venv=$root/.venv
borrowed=$venv/borrowed

say() { printf 'xenia: %s\n' "$*" >&2; }

give_up() {
    say "$*"
    exit 2
}

# The first Python of at least 3.11; $PYTHON says which to take.
find_python() {
    for python in ${PYTHON:-python3 python3.14 python3.13 python3.12 python3.11}; do
        if "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            return
        fi
    done
    give_up "no Python of version 3.11 or newer is here; install one, or name it: PYTHON=/path/to/python3 $0"
}

borrow() {
    say "borrowing $*"
    "$python" "$root/scripts/borrow.py" "$borrowed" "$@"
}

make_venv() {
    find_python
    rm -rf "$venv"
    "$python" -m venv "$venv" >/dev/null 2>&1 && return
    rm -rf "$venv"
    "$python" -m venv --without-pip "$venv" >/dev/null 2>&1 && borrow python3-pip-whl &&
        "$venv/bin/python" "$(echo "$borrowed"/usr/share/python-wheels/pip-*.whl)/pip" install -q --no-index \
            --find-links "$borrowed/usr/share/python-wheels" pip >/dev/null && return
    rm -rf "$venv"
    give_up "$python cannot make a virtual environment with pip: install what it lacks (Debian: apt install python3-venv)"
}

# A C compiler, and Python's header files where it finds them.
check_compiler() {
    python=$venv/bin/python
    command -v "${CC:-cc}" >/dev/null || give_up "no C compiler '${CC:-cc}' is here: install one (Debian: apt install gcc libc6-dev)"
    include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [ ! -e "$include/Python.h" ] || return 0
    version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    [ -e "$borrowed$include/Python.h" ] || borrow "lib$version-dev" && [ -e "$borrowed$include/Python.h" ] ||
        give_up "there are no header files for $version (Python.h): install them (Debian: apt install $version-dev)"
    export CPATH="$borrowed$include:$borrowed/usr/include"
}

# Whether something that goes into the installation changed since $1 was made.
outdated() {
    [ ! -e "$1" ] || [ -n "$(find "$root/src" "$root/guests" "$root/setup.py" "$root/pyproject.toml" \
        \( -name '*.pyx' -o -name '*.pxd' -o -name '*.c' -o -name '*.h' -o -name '*.S' -o -name '*.ld' -o -name 'setup.py' \
        -o -name 'pyproject.toml' -o -path '*/guests/build.py' \) -newer "$1" -print 2>/dev/null | head -n 1)" ]
}

install_package() {
    "$venv/bin/python" -c 'import sys, tomllib
print(*tomllib.load(open(sys.argv[1], "rb"))["build-system"]["requires"], sep="\n")' \
        "$root/pyproject.toml" >"$venv/build-requirements" &&
        "$venv/bin/python" -m pip install --disable-pip-version-check -r "$venv/build-requirements" &&
        "$venv/bin/python" -m pip install --disable-pip-version-check --no-build-isolation -e "$root$1"
}

prepare_venv() {
    # The larger installation serves for the smaller one too.
    if [ -z "$1" ] && [ -e "$venv/installed[test]" ]; then
        set -- "[test]"
    fi
    stamp=$venv/installed$1
    "$venv/bin/python" -c '' 2>/dev/null || make_venv
    outdated "$stamp" || return 0
    check_compiler
    say "building into .venv; the first time takes a few minutes"
    touch "$stamp.new"
    install_package "$1" >"$venv/install.log" 2>&1 </dev/null || {
        tail -n 15 "$venv/install.log" >&2
        give_up "the installation failed; all that was said is in $venv/install.log"
    }
    mv "$stamp.new" "$stamp"
}
