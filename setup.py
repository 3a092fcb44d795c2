"""Builds asset3d._C, the one extension: CPU kernels always, CUDA kernels when nvcc and a CUDA build of torch are there.

Switches in the environment: ASSET3D_CUDA=0|1 leaves the CUDA kernels out, or insists on them; ASSET3D_EMULATE=1 adds
asset3d._emulated, the .cu files run by the CPU emulator in tests; ASSET3D_SANITIZE=1 builds with ASan and UBSan;
MAX_JOBS limits the compilers that run at once.

A `*_simd.cpp` is compiled once per instruction set: a generated unit sets A3D_ISA and the compiler target, then
includes it (see csrc/common/simd.h).
"""
import os
import platform
import re
import shutil
import subprocess
from glob import glob
from pathlib import Path

import pybind11
import torch
from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension

TORCH_TARGET = "-DTORCH_TARGET_VERSION=0x020a000000000000"  # the stable ABI of torch 2.10
HIDE_PATHS = f"-ffile-prefix-map={os.getcwd()}/="  # errors name csrc/..., not where it was built
FLAGS = ["-O3", "-g0", "-std=c++20", "-fvisibility=hidden", "-Wall", "-Wno-unknown-pragmas", HIDE_PATHS, TORCH_TARGET]
SANITIZE = ["-O1", "-g", "-fno-omit-frame-pointer", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined"]
NVCC_FLAGS = ["-O3", "-std=c++20", "--expt-extended-lambda", TORCH_TARGET]
ARCHES = "8.0;8.6;8.9;9.0+PTX"
LANES = {"baseline": 4, "avx2": 8, "avx512": 16}
TARGETS = {"baseline": "", "avx2": "avx2,fma,bmi,bmi2,f16c,popcnt",
           "avx512": "avx2,fma,bmi,bmi2,f16c,popcnt,avx512f,avx512bw,avx512dq,avx512vl,prefer-vector-width=512"}
# The standard headers that simd.h needs come before the target changes, so that their code stays runnable anywhere.
SIMD_UNIT = """#include <algorithm>
#include <cmath>
#include <cstdint>
#include <cstring>
#pragma GCC diagnostic ignored "-Wuninitialized"
#pragma GCC diagnostic ignored "-Wmaybe-uninitialized"
{immintrin}#define A3D_ISA {isa}
#define A3D_ISA_LANES {lanes}
{target}#include "{source}"
"""


def sources(pattern: str) -> list[str]:
    return sorted(glob(f"csrc/**/{pattern}", recursive=True))


def wants_cuda() -> bool:
    choice = os.environ.get("ASSET3D_CUDA")
    possible = torch.version.cuda is not None and shutil.which("nvcc") is not None
    if choice == "1" and not possible:
        raise SystemExit("ASSET3D_CUDA=1, but nvcc or a CUDA build of torch is missing")
    return possible and choice != "0"


def generated(folder: str, source: str, text: str) -> str:
    """Write a unit that includes `source`; an unchanged one keeps its time stamp, so that ninja skips it."""
    unit = os.path.join("build", folder, source.replace("/", "_").removesuffix(".cpp") + ".cpp")
    os.makedirs(os.path.dirname(unit), exist_ok=True)
    path = Path(unit)
    if not path.exists() or path.read_text() != text:
        path.write_text(text)
    return unit


def emulated(source: str) -> str:
    return generated("emulated", source, f'#include "{os.path.abspath(source)}"\n')


def simd_units(isa: str) -> list[str]:
    target = f'#pragma GCC target("{TARGETS[isa]}")\n' if TARGETS[isa] else ""
    immintrin = "#include <immintrin.h>\n" if TARGETS[isa] else ""
    return [generated(os.path.join("simd", isa), source, SIMD_UNIT.format(
        isa=isa, lanes=LANES[isa], immintrin=immintrin, target=target, source=os.path.abspath(source)))
        for source in sources("*_simd.cpp")]


def extension(name: str, files: list[str], cuda: bool = False, defines: tuple[str, ...] = ()):
    sanitize = SANITIZE if os.environ.get("ASSET3D_SANITIZE") == "1" else []
    flags = [f"-DA3D_MODULE={name}", *(f"-D{define}" for define in defines)]
    if cuda:
        os.environ.setdefault("TORCH_CUDA_ARCH_LIST", ARCHES)
        flags += ["-DA3D_CUDA", f'-DA3D_ARCHES="{os.environ["TORCH_CUDA_ARCH_LIST"]}"']
    return (CUDAExtension if cuda else CppExtension)(
        f"asset3d.{name}", files, include_dirs=[pybind11.get_include()], extra_link_args=sanitize[3:],
        extra_compile_args={"cxx": FLAGS + sanitize + flags, "nvcc": NVCC_FLAGS + flags})


def refuse_shared_code(unit: Path) -> None:
    """Stop if an object for one instruction set holds code that the linker may give to any machine (see simd.h)."""
    command = ["nm", "-C", "--defined-only", str(unit)]
    symbols = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    weak = re.findall(r"^\S+ [WVu] (.*)$", symbols, re.M)
    shared = [name for name in weak if "::avx2::" not in name and "::avx512::" not in name]
    if shared:
        raise SystemExit(f"{unit}: code outside namespace A3D_ISA, mark it A3D_FN or static: {', '.join(shared)}")


class Build(BuildExtension):
    """One object folder per extension: the two compile the same files with different flags."""

    def build_extension(self, ext):
        shared, self.build_temp = self.build_temp, os.path.join(self.build_temp, ext.name)
        try:
            super().build_extension(ext)
            if shutil.which("nm") and os.environ.get("ASSET3D_SANITIZE") != "1":
                for unit in Path(self.build_temp).glob("**/simd/avx*/*.o"):
                    refuse_shared_code(unit)
        finally:
            self.build_temp = shared


class BuildPython(build_py):
    """Recipes live at the top of the checkout and inside the package of a wheel: `asset3d.run NAME` finds both."""

    def run(self):
        super().run()
        if not self.editable_mode:
            shutil.copytree("recipes", os.path.join(self.build_lib, "asset3d", "recipes"), dirs_exist_ok=True)


def extensions() -> list:
    cuda = wants_cuda()
    host = [path for path in sources("*.cpp") if not path.endswith("_simd.cpp")]
    isas = list(LANES) if platform.machine() in ("x86_64", "AMD64") else ["baseline"]
    vector = [unit for isa in isas for unit in simd_units(isa)]  # baseline first: see csrc/common/simd.h
    built = [extension("_C", host + vector + (sources("*_cuda.cu") if cuda else []), cuda)]
    if os.environ.get("ASSET3D_EMULATE") == "1":
        shared = [path for path in host if not path.endswith("_cpu.cpp")]
        built.append(extension("_emulated", shared + [emulated(path) for path in sources("*_cuda.cu")],
                               defines=("A3D_EMULATE",)))
    return built


setup(packages=find_packages(include=["asset3d*"]), ext_modules=extensions(),
      cmdclass={"build_py": BuildPython, "build_ext": Build.with_options(use_ninja=True)})
