"""The C++ helpers that every operator stands on, tested by small programs: the CUDA emulator, fixed-point sums,
the SIMD lanes."""
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch  # noqa: F401  before the extension, which is linked to it

from asset3d import _C

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
INSTRUCTION_SETS = ["baseline", "avx2", "avx512"][: 1 + ["baseline", "avx2", "avx512"].index(_C.build_info()["isa"])]


@pytest.fixture(scope="module")
def setup_names():
    """The names of setup.py, without building anything."""
    import setuptools

    original, setuptools.setup = setuptools.setup, lambda **_: None
    try:
        return runpy.run_path(str(ROOT / "setup.py"))
    finally:
        setuptools.setup = original


def build_and_run(source: Path, program: Path, *flags: str) -> subprocess.CompletedProcess:
    subprocess.run(["c++", "-std=c++20", "-O1", "-Wall", *flags, str(source), "-o", str(program)], check=True)
    return subprocess.run([str(program)], capture_output=True, text=True)


@pytest.mark.parametrize("name", ["emulator", "fixed_point"])
def test_program(name, tmp_path):
    result = build_and_run(HERE / f"{name}_test.cpp", tmp_path / name)
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("isa", INSTRUCTION_SETS)
def test_lanes(isa, tmp_path, setup_names):
    target = setup_names["TARGETS"][isa]
    unit = tmp_path / "simd.cpp"
    unit.write_text(setup_names["SIMD_UNIT"].format(
        isa=isa, lanes=setup_names["LANES"][isa], source=HERE / "simd_test.cpp",
        immintrin="#include <immintrin.h>\n" if target else "",
        target=f'#pragma GCC target("{target}")\n' if target else ""))
    result = build_and_run(unit, tmp_path / isa)
    assert result.returncode == 0, result.stdout + result.stderr


NO_NVCC = pytest.mark.skipif(not shutil.which("nvcc"), reason="nvcc is not on PATH: no CUDA device can be built for")


@NO_NVCC
def test_cuda_compiles():
    """Without warnings and spills, for one GPU; `make check-cuda` and the test below take all of them."""
    check_cuda("--arch", "sm_90")


@NO_NVCC
@pytest.mark.long
def test_cuda_compiles_for_every_gpu():
    check_cuda()


def check_cuda(*arguments: str) -> None:
    result = subprocess.run([sys.executable, str(ROOT / "csrc" / "check_cuda.py"), *arguments], capture_output=True,
                            text=True)
    assert result.returncode == 0 and ": 0 problems" in result.stdout, result.stdout + result.stderr


@pytest.mark.long
def test_sanitizers_find_nothing():
    """The operator tests under ASan and UBSan, as `make sanitize` runs them."""
    result = subprocess.run([sys.executable, str(HERE / "sanitize.py")], capture_output=True, text=True, cwd=ROOT)
    assert result.returncode == 0, result.stdout[-5000:] + result.stderr[-5000:]


def test_code_outside_the_namespace_stops_the_build(tmp_path, setup_names):
    """A weak symbol outside the namespaces avx2 and avx512 could replace the copy that any machine must run."""
    unit = tmp_path / "unit.cpp"
    unit.write_text("namespace a { inline __attribute__((noinline)) int shared(int v) { return v * 3; } }\n"
                    "namespace a::avx2 { int op(int v) { return shared(v); } }\n")
    compiled = tmp_path / "unit.o"
    subprocess.run(["c++", "-c", str(unit), "-o", str(compiled)], check=True)
    with pytest.raises(SystemExit, match=r"a::shared\(int\)"):
        setup_names["refuse_shared_code"](compiled)
