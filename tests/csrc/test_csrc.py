"""The C++ helpers that every operator stands on, tested by small programs: the CUDA emulator and the SIMD lanes."""
import platform
import re
import runpy
import shutil
import subprocess
from pathlib import Path

import pytest

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
X86 = platform.machine() in ("x86_64", "AMD64")

pytestmark = pytest.mark.skipif(not shutil.which("c++"), reason="no C++ compiler: install g++ to run these")


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


def test_emulator(tmp_path):
    result = build_and_run(HERE / "emulator_test.cpp", tmp_path / "emulator")
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.parametrize("isa", ["baseline", "avx2", "avx512"] if X86 else ["baseline"])
def test_lanes(isa, tmp_path, setup_names):
    target = setup_names["TARGETS"][isa]
    unit = tmp_path / "simd.cpp"
    unit.write_text(setup_names["SIMD_UNIT"].format(
        isa=isa, lanes=setup_names["LANES"][isa], source=HERE / "simd_test.cpp",
        immintrin="#include <immintrin.h>\n" if target else "",
        target=f'#pragma GCC target("{target}")\n' if target else ""))
    needs = {"baseline": "", "avx2": " avx2 ", "avx512": " avx512vl "}[isa]
    if isa != "baseline" and needs not in Path("/proc/cpuinfo").read_text().replace("\n", " "):
        pytest.skip(f"this machine has no {isa}")
    result = build_and_run(unit, tmp_path / isa)
    assert result.returncode == 0, result.stdout + result.stderr


def test_no_shared_code_for_one_instruction_set():
    """A weak symbol outside the namespaces avx2 and avx512 could replace the copy that any machine must run."""
    objects = [path for isa in ("avx2", "avx512") for path in ROOT.glob(f"build/temp*/**/simd/{isa}/*.o")]
    if not objects:
        pytest.skip("no objects of a build in this checkout: run setup.py build_ext --inplace")
    for path in objects:
        symbols = subprocess.run(["nm", "-C", "--defined-only", str(path)], capture_output=True, text=True, check=True)
        weak = re.findall(r"^\S+ [WVu] (.*)$", symbols.stdout, re.M)
        shared = [name for name in weak if "::avx2::" not in name and "::avx512::" not in name]
        assert not shared, f"{path.name}: {shared}"
