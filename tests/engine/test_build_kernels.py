"""How the kernels are compiled: by which compilers, for which machines, and where not at all."""

import platform
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from setuptools import Distribution, Extension

from pipeline.engine import build_kernels
from pipeline.engine.build_kernels import BuildKernels

ROOT = Path(__file__).parents[2]
ENGINE = ROOT / "pipeline/engine"
NAMED = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["setuptools"]
HERE = "neon" if platform.machine().lower() in ("aarch64", "arm64") else "avx2"

COMPILERS = {
    "gcc": ("-march=x86-64-v4", "-fno-predictive-commoning"),
    "clang": ("-march=x86-64-v4", "-mllvm", "-enable-load-pre=0", "-Wno-pass-failed"),
    "aarch64-linux-gnu-gcc": ("-fno-predictive-commoning",),
}


@pytest.fixture
def build(tmp_path, monkeypatch):
    """Build one level of something small, as the package's are built."""
    source = tmp_path / "small.c"
    source.write_text("int one(void) { return 1; }\n", encoding="utf-8")

    def built(level: str, compiler: str = "gcc") -> tuple[list[Path], Extension]:
        monkeypatch.setenv("CC", compiler)
        extension = Extension(f"_cpu_kernels_{level}", [str(source)], optional=True)
        command = BuildKernels(Distribution({"name": "small", "ext_modules": [extension]}))
        command.build_lib, command.build_temp = str(tmp_path / "lib"), str(tmp_path / "temp")
        command.ensure_finalized()
        command.run()
        return list((tmp_path / "lib").glob("*")), extension

    return built


@pytest.fixture
def wrapped(tmp_path):
    """A C compiler that refuses some flags, in front of a real one."""

    def write(compiler: str, *refused: str) -> str:
        path = tmp_path / "cc"
        cases = "|".join(refused)
        path.write_text(
            f'#!/bin/sh\nfor a in "$@"; do case "$a" in {cases}) exit 1;; esac; done\n'
            f'exec {compiler} "$@"\n',
            encoding="utf-8",
        )
        path.chmod(0o755)
        return str(path)

    return write


def needs(*programs: str) -> pytest.MarkDecorator:
    missing = [program for program in programs if shutil.which(program) is None]
    return pytest.mark.skipif(bool(missing), reason=f"no {', '.join(missing)}")


@needs("gcc")
@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere gcc may be clang")
def test_gcc_gets_openmp_without_linking_it(build):
    files, extension = build(HERE)
    assert len(files) == 1
    assert {"-O3", "-fopenmp", "-fno-predictive-commoning"} <= set(extension.extra_compile_args)
    assert extension.extra_link_args == []


@needs("clang")
def test_clang_gets_its_own_flags(build):
    files, extension = build(HERE, "clang")
    assert len(files) == 1
    assert {"-mllvm", "-enable-load-pre=0"} <= set(extension.extra_compile_args)
    assert "-fno-predictive-commoning" not in extension.extra_compile_args
    threaded = "-fopenmp" in extension.extra_compile_args
    assert extension.extra_link_args == (["-fopenmp"] if threaded else [])


@pytest.mark.unix
@needs("gcc")
def test_a_compiler_without_openmp_builds_for_one_thread(build, wrapped):
    files, extension = build(HERE, wrapped("gcc", "-fopenmp"))
    assert len(files) == 1
    assert "-fopenmp-simd" in extension.extra_compile_args
    assert "-fopenmp" not in extension.extra_compile_args


@pytest.mark.unix
@pytest.mark.filterwarnings("ignore")  # setuptools tells that something was left out
def test_without_a_compiler_or_with_one_that_refuses_the_kernels_are_left_out(build, wrapped):
    assert build(HERE, "no-such-compiler")[0] == []
    assert build(HERE, wrapped("gcc", "-O3"))[0] == []


def test_each_level_is_for_its_machines(build, monkeypatch):
    other = "avx2" if HERE == "neon" else "neon"
    assert build(other)[0] == []
    monkeypatch.setattr(platform, "machine", lambda: "riscv64")
    assert build(HERE)[0] == []


def test_windows_has_none(build, monkeypatch):
    command = BuildKernels(Distribution())
    extension = Extension("_cpu_kernels_avx2", ["never.c"])
    monkeypatch.setattr(platform, "machine", lambda: "AMD64")
    with monkeypatch.context() as patch:
        patch.setattr(sys, "platform", "win32")
        command.build_extension(extension)
    assert extension.optional


def test_pyproject_names_every_level():
    assert NAMED["cmdclass"]["build_ext"] == "pipeline.engine.build_kernels.BuildKernels"
    levels = [module["name"].rpartition("_")[2] for module in NAMED["ext-modules"]]
    assert sorted(levels) == sorted(build_kernels._MACHINES)
    for module in NAMED["ext-modules"]:
        assert module["optional"]
        assert all((ROOT / file).is_file() for file in (*module["sources"], *module["depends"]))


@pytest.mark.parametrize("openmp", ["-fopenmp", "-fopenmp-simd"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_the_kernels_compile_without_a_warning(tmp_path, compiler, openmp):
    if shutil.which(compiler) is None:
        pytest.skip(f"no {compiler}")
    if compiler != "aarch64-linux-gnu-gcc" and HERE != "avx2":
        pytest.skip("these flags are x86's")
    for file in ("cpu_kernels.c", "cpu_stem.c"):
        command = [compiler, "-Wall", "-Wextra", "-Werror", "-fPIC", *build_kernels._ALWAYS]
        command += [*COMPILERS[compiler], openmp, "-c", str(ENGINE / file)]
        done = subprocess.run(
            [*command, "-o", str(tmp_path / "x.o")],
            stderr=subprocess.PIPE,
            encoding="utf-8",
            check=False,
        )
        assert done.returncode == 0, done.stderr
