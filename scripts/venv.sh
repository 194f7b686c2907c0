# Sourced by ./xenia and ./test, which say where the clone is ($root): makes its virtual environment .venv, as an ordinary user, and
# keeps it current.
#
#   prepare_venv EXTRAS     EXTRAS is "" or "[test]".  Afterwards $venv/bin has python, xenia and, with [test], the test tools.
#
# The package is installed editable: the compiled core is built inside src, once for both commands.  After a change only the modules
# that it concerns are compiled again (objects and translations stay in build).  What Debian keeps in packages of their own (pip for virtual environments, Python's
# header files) is borrowed: fetched and unpacked into .venv, installed nowhere.

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
    if [ -e "$venv" ]; then
        [ -O "$venv" ] || give_up "$venv belongs to another user, and its Python does not run for you: use a clone of your own"
        say "making .venv again: its Python does not run any more"
        rm -rf "$venv"
    fi
    "$python" -m venv "$venv" >/dev/null 2>&1 && return
    rm -rf "$venv"
    "$python" -m venv --without-pip "$venv" >/dev/null 2>&1 && borrow python3-pip-whl &&
        "$venv/bin/python" "$(echo "$borrowed"/usr/share/python-wheels/pip-*.whl)/pip" install -q --no-index \
            --find-links "$borrowed/usr/share/python-wheels" pip >/dev/null && return
    rm -rf "$venv"
    give_up "$python cannot make a virtual environment with pip: install what it lacks (Debian: apt install python3-venv)"
}

# Whether the Python of .venv runs: it is asked once, and again where its file is another.
python_runs() {
    [ -x "$venv/bin/python" ] || return 1
    [ ! -e "$venv/ran" ] || [ -n "$(find -L "$venv/bin/python" -cnewer "$venv/ran" 2>&1)" ] || return 0
    "$venv/bin/python" -c '' 2>/dev/null || return 1
    touch "$venv/ran" 2>/dev/null || :
}

have_compiler() {
    set -- ${CC:-cc}        # "ccache gcc", say
    command -v "$1" >/dev/null
}

# Python's header files, where the compiler finds them.
find_headers() {
    python=$venv/bin/python
    include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))')
    [ ! -e "$include/Python.h" ] || return 0
    version=$("$python" -c 'import sys; print("python%d.%d" % sys.version_info[:2])')
    [ -e "$borrowed$include/Python.h" ] || borrow "lib$version-dev" && [ -e "$borrowed$include/Python.h" ] ||
        give_up "there are no header files for $version (Python.h): install them (Debian: apt install $version-dev)"
    export CPATH="$borrowed$include:$borrowed/usr/include"
}

# Whether what is compiled was not compiled yet ($1 is not there), or is of sources that have changed since.
compiled_outdated() {
    [ ! -e "$1" ] || [ -n "$(find "$root/src" "$root/guests" "$root/setup.py" "$root/pyproject.toml" -name __pycache__ -prune -o \
        \( -name '*.pyx' -o -name '*.pxd' -o -name '*.[chS]' -o -name '*.ld' -o -name setup.py -o -name pyproject.toml \
        -o -path '*/guests/build.py' -o -path '*/launcher/build.py' \) -newer "$1" -print 2>/dev/null | head -n 1)" ]
}

pip() {
    "$venv/bin/python" -m pip install -q --disable-pip-version-check "$@"
}

# Runs the rest of the arguments with what they say in the log; progress goes to this terminal.
logged() {
    "$@" 3>&2 >>"$venv/install.log" 2>&1 </dev/null || {
        tail -n 15 "$venv/install.log" >&2
        give_up "the installation failed; all that was said is in $venv/install.log"
    }
}

# What Xenia stands on, and Xenia itself, which is only pointed at: what is compiled is compiled in src.
install_package() {
    "$venv/bin/python" -c 'import sys, tomllib
print(*tomllib.load(open(sys.argv[1], "rb"))["build-system"]["requires"], sep="\n")' \
        "$root/pyproject.toml" >"$venv/build-requirements" &&
        pip -r "$venv/build-requirements" && pip --no-build-isolation -e "$root$1"
}

compile_core() {
    find_headers
    cd "$root"
    XENIA_PROGRESS_FD=3 logged "$venv/bin/python" setup.py build_ext --inplace
    cd "$OLDPWD"
    for launcher in "$root"/src/xenia/launcher/xenia-*; do
        if [ -e "$launcher" ] && ! cmp -s "$launcher" "$venv/bin/xenia"; then
            cp "$launcher" "$venv/bin/xenia.new" && mv "$venv/bin/xenia.new" "$venv/bin/xenia"      # it may be running
        fi
    done
}

# What `pip wheel .` compiled elsewhere, from these very sources.
unpack_wheel() {
    wheel=${XENIA_WHEEL:-$(ls -t "$root"/dist/xenia-*.whl 2>/dev/null | head -n 1)}
    [ -n "$wheel" ] || give_up "no C compiler '${CC:-cc}' is here: install one (Debian: apt install gcc libc6-dev), or put what" \
        "'pip wheel --no-deps -w dist .' made on another machine into dist"
    say "no C compiler is here: taking what is compiled from $wheel"
    "$venv/bin/python" "$root/scripts/unpack_wheel.py" "$wheel" "$root/src" "$venv/bin" || exit 2
}

prepare_venv() {
    # The larger installation serves for the smaller one too.
    if [ -z "$1" ] && [ -e "$venv/installed[test]" ]; then
        set -- "[test]"
    fi
    installed=$venv/installed$1
    compiled=$venv/compiled
    python_runs || make_venv
    if [ ! -e "$installed" ] || [ "$root/pyproject.toml" -nt "$installed" ]; then
        say "installing what it needs into .venv"
        : >"$venv/install.log"
        logged install_package "$1"
        touch "$installed"
    fi
    compiled_outdated "$compiled" || return 0
    touch "$compiled.new"
    if have_compiler; then compile_core; else unpack_wheel; fi
    mv "$compiled.new" "$compiled"
}
