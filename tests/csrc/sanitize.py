"""Builds the extension with ASan and UBSan beside the normal one and runs the operator tests on it.

    python tests/csrc/sanitize.py [pytest arguments]

The CUDA kernels take part through the emulator. Any report of a sanitizer ends the run with an error.
"""
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build" / "sanitize"
PACKAGES = BUILD / "lib"
TESTS = ["tests/ops", "tests/csrc"]
NOT_OURS = ["-m", "not long", "--deselect", "tests/csrc/test_csrc.py::test_cuda_compiles"]
"""nvcc and the tests that start this run have nothing to gain from sanitizers."""


def build() -> None:
    environment = dict(os.environ, ASSET3D_SANITIZE="1", ASSET3D_EMULATE="1", ASSET3D_CUDA="0")
    subprocess.run([sys.executable, "setup.py", "--quiet", "build_ext", "--build-lib", str(PACKAGES),
                    "--build-temp", str(BUILD / "temp")], cwd=ROOT, env=environment, check=True)
    shutil.copytree(ROOT / "asset3d", PACKAGES / "asset3d", dirs_exist_ok=True,
                    ignore=shutil.ignore_patterns("*.so", "__pycache__"))


def library(name: str) -> str:
    """The path of a sanitizer's library of the compiler that built the extension."""
    command = ["c++", f"-print-file-name={name}"]
    path = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    if not Path(path).is_absolute():
        raise SystemExit(f"sanitize: {name} is missing; install the sanitizer libraries of your C++ compiler")
    return str(Path(path).resolve())


def test(arguments: list[str]) -> int:
    environment = dict(
        os.environ,
        LD_PRELOAD=f"{library('libasan.so')} {library('libubsan.so')}",
        ASAN_OPTIONS="detect_leaks=0:detect_stack_use_after_return=0:alloc_dealloc_mismatch=0:abort_on_error=0",
        UBSAN_OPTIONS="print_stacktrace=1:halt_on_error=1",
        PYTHONPATH=str(PACKAGES), PYTHONMALLOC="malloc", ASSET3D_SANITIZED="1",
    )
    command = [sys.executable, "-m", "pytest", "--rootdir", str(ROOT), "-c", str(ROOT / "pyproject.toml"),
               "-o", f"pythonpath={PACKAGES} {ROOT / 'tests'}", "-p", "no:cacheprovider", "-q",
               *[str(ROOT / folder) for folder in TESTS], *NOT_OURS, *arguments]
    return subprocess.run(command, cwd=BUILD, env=environment).returncode


if __name__ == "__main__":
    build()
    sys.exit(test(sys.argv[1:]))
