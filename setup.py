"""Builds the compiled core: every .pyx under src/xenia is one extension module, and guests/ the embedded guest."""

import contextlib
import multiprocessing
import os
import platform
import re
import runpy
import shutil
import sys
from pathlib import Path
from typing import Any

import unicorn
from Cython.Build import cythonize
from setuptools import Distribution, Extension, setup
from setuptools.command.bdist_wheel import bdist_wheel
from setuptools.command.build_ext import build_ext
from setuptools.modified import newer_group

ROOT = Path(__file__).parent
CFLAGS = os.environ.get("XENIA_CFLAGS", "-O2 -g0").split()
# A guest that finds a way to overwrite memory is to find as little as can be to overwrite.
HARDENED = ["-U_FORTIFY_SOURCE", "-D_FORTIFY_SOURCE=3", "-fstack-protector-strong"]
HARDENED_LINK = ["-Wl,-z,relro,-z,now,-z,noexecstack"]
JOBS = int(os.environ.get("XENIA_BUILD_JOBS", "0")) or len(os.sched_getaffinity(0))


# The emulated engine is linked with Unicorn's static library, and takes the place of some functions of it.
ENGINE = Path("src/xenia/cpu/engines/emulated/engine.pyx")
UNICORN = Path(unicorn.__file__).parent
INTERPOSED = ENGINE.with_name("interposed.py")
NATIVE = Path("src/xenia/cpu/engines/native")

# What Cython would write into each module again (its memory views, above all): one module that the others take it from.
SHARED = "xenia._cython"
SHARED_SOURCE = Path("src/xenia/_cython.c")


def size(module: Extension) -> int:
    """Of its sources, in bytes; the shared one is made by Cython."""
    return 0 if module.name == SHARED else sum(os.path.getsize(source) for source in module.sources)


def extension(source: Path) -> Extension:
    """The extension module that `source` becomes; C files beside the engine belong to it."""
    module = Extension(
        ".".join(source.relative_to("src").with_suffix("").parts),
        [str(source)],
        extra_compile_args=[*CFLAGS, *HARDENED, "-Wno-unreachable-code", "-Wno-cpp", "-Wno-sign-compare"],
        extra_link_args=HARDENED_LINK,
    )
    if source.parent == NATIVE:
        module.depends = [str(header) for folder in (NATIVE, ENGINE.parent) for header in folder.glob("*.h")]
        module.include_dirs = [str(NATIVE), str(ENGINE.parent), str(UNICORN / "include")]
    if source == ENGINE:
        module.sources += sorted(map(str, source.parent.glob("*.c")))
        module.depends = [str(INTERPOSED), *(str(header) for header in source.parent.glob("*.h"))]
        module.include_dirs = [str(source.parent), str(UNICORN / "include")]
        module.extra_objects = [str(UNICORN / "lib" / "libunicorn.a")]
        module.libraries = ["pthread", "m"]
        module.extra_link_args = [*HARDENED_LINK, "-Wl,--exclude-libs,ALL", "-Wl,--gc-sections", "-Wl,-s"]
        if os.environ.get("XENIA_SYMBOLS"):
            module.extra_link_args.remove("-Wl,-s")
    return module


FORK = multiprocessing.get_context("fork")


TRANSLATED = "build/cython"
FLAGS = Path("build/flags")  # with which everything was compiled last


def translate(module: Extension) -> None:
    """Translate the .pyx of `module` to C, where the C is older than what it is made of."""
    cythonize(
        [module],
        language_level=3,
        include_path=["src"],
        build_dir=TRANSLATED,
        cache=os.environ.get("XENIA_CYTHON_CACHE", False),
        shared_utility_qualified_name=SHARED,
        quiet=True,
        compiler_directives={
            "boundscheck": False,
            "wraparound": False,
            "cdivision": True,
            "initializedcheck": False,
            "embedsignature": True,
        },
    )


class Progress:
    """Says how far the build is, on the descriptor $XENIA_PROGRESS_FD: in place on a terminal, else in steps."""

    def __init__(self, work: str, total: int) -> None:
        self._work, self._total = work, total
        self._done = FORK.Value("i")
        self._fd = int(os.environ.get("XENIA_PROGRESS_FD", "-1"))
        self._in_place = self._fd >= 0 and os.isatty(self._fd)

    def step(self) -> None:
        """One more is done; from any thread or process."""
        with self._done.get_lock():
            self._done.value += 1
            done = self._done.value
            text = f"xenia: {self._work} {done}/{self._total}"
            if self._in_place:
                os.write(self._fd, f"\r{text if done < self._total else ''}\x1b[K".encode())
            elif self._fd >= 0 and done * 4 // self._total > (done - 1) * 4 // self._total:
                os.write(self._fd, f"{text}\n".encode())


class BuildExt(build_ext):
    """Translates and compiles with all processors, the largest modules first; what is newer than its sources stays."""

    def finalize_options(self) -> None:
        super().finalize_options()
        self.parallel = self.parallel or JOBS

    def build_extensions(self) -> None:
        if self.inplace:
            ours = {Path(self.get_ext_fullpath(module.name)).absolute() for module in self.extensions}
            for module in Path("src").rglob("*.so"):  # its source was moved or is gone
                if module.absolute() not in ours:
                    module.unlink()
        self.extensions.sort(key=size, reverse=True)
        self._progress = Progress("translating", len(self.extensions))
        shares = [FORK.Process(target=self._translate, args=(self.extensions[i::JOBS],)) for i in range(JOBS)]
        for share in shares:
            share.start()
        for share in shares:
            share.join()
        if any(share.exitcode for share in shares):
            raise SystemExit("a module could not be translated")
        for module in self.extensions:
            module.sources[0] = str(Path(TRANSLATED, module.sources[0]).with_suffix(".c"))
        flags = f"{CFLAGS} {HARDENED} {HARDENED_LINK}"
        self.force = self.force or not FLAGS.exists() or FLAGS.read_text() != flags
        self._stale = {module.name for module in self.extensions if self.force or self._outdated(module)}
        self._progress = Progress("compiling", len(self._stale))
        self._link, self.compiler.link_shared_object = self.compiler.link_shared_object, self._link_whole
        super().build_extensions()
        FLAGS.write_text(flags)

    def build_extension(self, module: Extension) -> None:
        super().build_extension(module)
        if module.name in self._stale:
            self._progress.step()

    def _link_whole(self, objects: list[str], output: str, *rest: Any, **options: Any) -> None:
        for library in (file for file in objects if file.endswith("libunicorn.a")):
            ours = [file for file in objects if file != library]
            names = runpy.run_path(str(INTERPOSED))["interposed"](ours, library)
            options["extra_postargs"] = [*options["extra_postargs"], *(f"-Wl,--wrap={name}" for name in names)]
        # A build that is stopped leaves no module that is newer than its sources and only half there.
        self._link(objects, f"{output}.part", *rest, **options)
        os.replace(f"{output}.part", output)

    def _translate(self, share: list[Extension]) -> None:
        for module in share:
            translate(module)
            self._progress.step()

    def _outdated(self, module: Extension) -> bool:
        return bool(newer_group([*module.sources, *module.depends], self.get_ext_fullpath(module.name), "newer"))


class BuildScripts(Distribution().get_command_class("build_scripts")):
    """The command `xenia`: the launcher, or what serves for it where nobody can compile one."""

    def copy_scripts(self) -> tuple[list[str], list[str]]:
        command = Path(self.build_dir, "xenia")
        command.parent.mkdir(parents=True, exist_ok=True)
        if LAUNCHER is not None:
            shutil.copyfile(LAUNCHER, command)
        else:
            command.write_text("#!python\nfrom xenia.__main__ import main\n\nmain()\n")
        command.chmod(0o755)
        return [str(command)], [str(command)]


class BdistWheel(bdist_wheel):
    """A wheel whose platform is the oldest C library that what is compiled in it runs with, as PEP 600 names it."""

    def run(self) -> None:
        stale = Path(self.get_finalized_command("build").build_lib, "xenia")
        modules = {Path(self.get_finalized_command("build_ext").get_ext_fullpath(module.name)) for module in MODULES}
        for path in stale.rglob("*"):
            if path.is_file() and path not in modules:  # build_py copies what is still there
                path.unlink()
        super().run()

    def get_tag(self) -> tuple[str, str, str]:
        python, abi, host = super().get_tag()
        found = {
            int(minor)
            for compiled in [*Path(self.bdist_dir).rglob("*.so"), *Path(self.bdist_dir).glob("*.data/scripts/*")]
            for minor in re.findall(rb"GLIBC_2\.([0-9]+)", compiled.read_bytes())
        }
        return python, abi, f"manylinux_2_{max(found)}_{platform.machine()}" if found else host


os.chdir(ROOT)
agent = runpy.run_path("src/xenia/agent/build.py")
agent["build_beside_source"]()
runpy.run_path(str(NATIVE / "build.py"))["build_beside_source"]()
LAUNCHER = runpy.run_path("src/xenia/launcher/build.py")["build_beside_source"](agent["find_compiler"]())
guests = runpy.run_path("guests/build.py")
with contextlib.suppress(guests["NoCompiler"]):  # `xenia doctor` and `xenia run` say that it is missing
    guests["build_embedded"]()
# An editable installation only points at src: what is compiled there is `build_ext --inplace`'s.
EDITABLE = "editable_wheel" in sys.argv
MODULES = [] if EDITABLE else [extension(path) for path in [SHARED_SOURCE, *sorted(Path("src").rglob("*.pyx"))]]
setup(
    ext_modules=MODULES,
    scripts=["src/xenia/launcher/launcher.c"],
    cmdclass={"build_ext": BuildExt, "build_scripts": BuildScripts, "bdist_wheel": BdistWheel},
)
