"""Builds the compiled core: every .pyx under src/xenia is one extension module, and guests/ the embedded guest."""

import os
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
CFLAGS = os.environ.get("XENIA_CFLAGS", "-O2").split()


def extension(source: Path) -> Extension:
    name = ".".join(source.relative_to("src").with_suffix("").parts)
    return Extension(name, [str(source)], extra_compile_args=[*CFLAGS, "-Wno-unreachable-code", "-Wno-cpp"])


os.chdir(ROOT)
setup(
    ext_modules=cythonize(
        [extension(path) for path in sorted(Path("src").rglob("*.pyx"))],
        language_level=3,
        include_path=["src"],
        build_dir="build/cython",
        nthreads=int(os.environ.get("XENIA_BUILD_JOBS", "0")),
        compiler_directives={
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
        },
    ),
)
