#!/bin/sh
# Checks the sources without running them: all, or those that are named.  Needs what ./test put into .venv.
set -eu
root=$(dirname -- "$(dirname -- "$(readlink -f -- "$0")")")
cd "$root"
export PATH="$root/.venv/bin:$PATH"

for check in "${@:-all}"; do
    case $check in
        all) "$0" ruff format cython-lint abi stubs mypy ;;
        ruff) ruff check . ;;
        format) ruff format --check . ;;
        cython-lint) cython-lint src ;;
        abi) python scripts/abi.py --check ;;
        stubs) python scripts/stubs.py --check ;;
        mypy) mypy ;;
        architecture) python -m pytest -q tests/test_architecture.py ;;
        *) echo "$0: no check is called $check" >&2; exit 2 ;;
    esac
done
