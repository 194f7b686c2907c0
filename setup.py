"""Builds the compiled core: every .pyx under src/xenia is one extension module, and guests/ the embedded guest."""

import contextlib
import os
import runpy
from pathlib import Path

import unicorn
from Cython.Build import cythonize
from setuptools import Extension, setup

ROOT = Path(__file__).parent
CFLAGS = os.environ.get("XENIA_CFLAGS", "-O2").split()


# The emulated engine is linked with Unicorn's static library, and takes the place of these functions of it.
ENGINE = Path("src/xenia/cpu/engines/emulated/engine.pyx")
UNICORN = Path(unicorn.__file__).parent
INTERPOSED = [
    "helper_lookup_tb_ptr",
    "tlb_flush",
    "tb_flush_jmp_cache",
    "tcg_region_reset_all",
    "helper_syscall",
    "helper_sysenter",
    "helper_rechecking_single_step",
    "helper_cpuid",
    "helper_pause",
    "helper_rdpmc",
    "cpu_check_watchpoint",
    *(f"helper_{direction}{width}" for direction in ("in", "out") for width in "bwl"),
    "x86_cpu_tlb_fill",
    *(f"helper_{name}_mmu" for name in ("ret_ldub", "le_lduw", "le_ldul", "le_ldq")),
    *(f"helper_{name}_mmu" for name in ("ret_stb", "le_stw", "le_stl", "le_stq")),
    *(f"cpu_ld{letter}_{kind}" for kind in ("data_ra", "code") for letter in ("ub", "uw", "l", "q")),
    *(f"cpu_st{letter}_data_ra" for letter in "bwlq"),
    "tlb_protect_code",
    "tb_invalidate_phys_page_fast",
    "tlb_reset_dirty_by_vaddr",
    "tcg_gen_lookup_and_goto_ptr",
    "tcg_gen_goto_tb",
    "helper_bndldx64",
    "translator_loop",
    "helper_vmload",
    "tcg_gen_mb",
    *(f"tcg_gen_atomic_fetch_{name}_i64" for name in ("add", "and", "or", "xor")),
    *(f"tcg_gen_atomic_{name}_fetch_i64" for name in ("add", "and", "or", "xor")),
    *(f"tcg_gen_atomic_{name}_i64" for name in ("xchg", "cmpxchg")),
    "tcg_gen_callN",
    "tcg_gen_exit_tb",
]


def extension(source: Path) -> Extension:
    """The extension module that `source` becomes; C files beside the engine belong to it."""
    module = Extension(
        ".".join(source.relative_to("src").with_suffix("").parts),
        [str(source)],
        extra_compile_args=[*CFLAGS, "-Wno-unreachable-code", "-Wno-cpp"],
    )
    if source == ENGINE:
        module.sources += sorted(map(str, source.parent.glob("*.c")))
        module.depends = [str(header) for header in source.parent.glob("*.h")]
        module.include_dirs = [str(source.parent), str(UNICORN / "include")]
        module.extra_objects = [str(UNICORN / "lib" / "libunicorn.a")]
        module.libraries = ["pthread", "m"]
        module.extra_link_args = ["-Wl,--exclude-libs,ALL", "-Wl,--gc-sections", "-Wl,-s"]
        if os.environ.get("XENIA_SYMBOLS"):
            module.extra_link_args.remove("-Wl,-s")
        module.extra_link_args += [f"-Wl,--wrap={name}_x86_64" for name in INTERPOSED] + ["-Wl,--wrap=qht_remove"]
    return module


os.chdir(ROOT)
runpy.run_path("src/xenia/agent/build.py")["build_beside_source"]()
guests = runpy.run_path("guests/build.py")
with contextlib.suppress(guests["NoCompiler"]):  # `xenia doctor` and `xenia run` say that it is missing
    guests["build_embedded"]()
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
