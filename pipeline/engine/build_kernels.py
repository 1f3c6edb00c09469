"""How the kernels in C are compiled while the package is installed (pyproject.toml names this).

For each level of processors there is an extension, built where the machine may have that level. GCC
and clang compile them, with OpenMP or without; where they do not compile, or on Windows, whose
compiler knows neither their vectors nor OpenMP's `simd`, they are left out, and PyTorch's operators
do the work.
"""

import platform
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from setuptools import Extension
from setuptools.command.build_ext import build_ext
from setuptools.errors import CompileError, LinkError

_MACHINES: Final = {
    "avx512": ("x86_64", "amd64"),
    "avx2": ("x86_64", "amd64"),
    "neon": ("aarch64", "arm64"),
}

# Python's own flags may ask for integers that wrap, with which loops are not vectorised.
_ALWAYS: Final = ("-O3", "-fno-wrapv", "-fno-math-errno", "-fno-trapping-math")
# Neither compiler may carry what a loop has read over to its next turn: it would not be vectorised.
# clang warns of loops that it leaves as they are, which only radii that no dream has run through.
_OF_CLANG: Final = ("-mllvm", "-enable-load-pre=0", "-Wno-pass-failed")
_OF_GCC: Final = ("-fno-predictive-commoning",)

_IS_CLANG: Final = "#ifndef __clang__\n#error\n#endif\nint found;\n"
_PARALLEL: Final = """
void twice(int *x, int n)
{
#pragma omp parallel for
    for (int i = 0; i < n; i++)
        x[i] *= 2;
}
"""


class BuildKernels(build_ext):  # type: ignore[misc]  # setuptools tells no types
    """Builds the extensions of this machine, with the flags that its compiler takes."""

    def build_extension(self, ext: Extension) -> None:
        """Build one level, or leave it out.

        Raises:
            CompileError: it does not compile; an optional extension is left out then.
        """
        level = ext.name.rpartition("_")[2]
        if platform.machine().lower() not in _MACHINES[level] or sys.platform == "win32":
            ext.optional = True  # not there, and not missed
            return
        clang = self._takes(_IS_CLANG)
        # GCC's OpenMP is the one that torch brings on Linux and has loaded before: not linked, it
        # has the same threads. clang's is another, and where torch brings that one (macOS), two of
        # them in a process end it.
        link = ("-fopenmp",) if clang else ()
        threaded = sys.platform == "linux" and self._takes(_PARALLEL, "-fopenmp", link=link)
        openmp = "-fopenmp" if threaded else "-fopenmp-simd"
        ext.extra_compile_args += [*_ALWAYS, *(_OF_CLANG if clang else _OF_GCC), openmp]
        ext.extra_link_args += link if threaded else ()
        super().build_extension(ext)

    def _takes(self, code: str, *flags: str, link: Sequence[str] = ()) -> bool:
        """Whether the compiler makes a library of some code."""
        with tempfile.TemporaryDirectory(prefix="probe-") as folder:
            source = Path(folder, "probe.c")
            source.write_text(code, encoding="utf-8")
            try:
                objects = self.compiler.compile(
                    [str(source)], output_dir=folder, extra_postargs=list(flags)
                )
                self.compiler.link_shared_object(
                    objects, str(Path(folder, "probe.so")), extra_postargs=list(link)
                )
            except (CompileError, LinkError):
                return False
        return True
