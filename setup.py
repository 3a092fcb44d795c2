"""Builds asset3d._C; with ASSET3D_EMULATE=1 also asset3d._emulated: the .cu files run by the CPU emulator in tests.

ASSET3D_CUDA=0|1 leaves the CUDA kernels out, or insists on them; by default they are built when nvcc and a CUDA
build of torch are both there.
"""
import os
import shutil
from glob import glob

import pybind11
import torch
from setuptools import find_packages, setup
from setuptools.command.build_py import build_py
from torch.utils.cpp_extension import BuildExtension, CppExtension, CUDAExtension

FLAGS = ["-O3", "-std=c++20", "-fvisibility=hidden", "-DTORCH_TARGET_VERSION=0x020a000000000000"]
NVCC_FLAGS = ["-O3", "-std=c++20", "--expt-extended-lambda", "-DTORCH_TARGET_VERSION=0x020a000000000000"]


def sources(pattern: str) -> list[str]:
    return sorted(glob(f"csrc/**/{pattern}", recursive=True))


def wants_cuda() -> bool:
    choice = os.environ.get("ASSET3D_CUDA")
    possible = torch.version.cuda is not None and shutil.which("nvcc") is not None
    if choice == "1" and not possible:
        raise SystemExit("ASSET3D_CUDA=1, but nvcc or a CUDA build of torch is missing")
    return possible and choice != "0"


def extension(name: str, files: list[str], cuda: bool = False, defines: tuple[str, ...] = ()):
    flags = [f"-DA3D_MODULE={name}", *(f"-D{define}" for define in defines)] + (["-DA3D_CUDA"] if cuda else [])
    kind = CUDAExtension if cuda else CppExtension
    return kind(f"asset3d.{name}", files, include_dirs=[pybind11.get_include()],
                extra_compile_args={"cxx": FLAGS + flags, "nvcc": NVCC_FLAGS + flags})


def emulated(path: str) -> str:
    """A .cpp that includes one .cu, since a host compiler wants its own file ending."""
    unit = os.path.join("build", "emulated", path.replace("/", "_") + ".cpp")
    os.makedirs(os.path.dirname(unit), exist_ok=True)
    with open(unit, "w") as file:
        file.write(f'#include "{os.path.abspath(path)}"\n')
    return unit


cuda = wants_cuda()
host = sources("*.cpp")
extensions = [extension("_C", host + (sources("*_cuda.cu") if cuda else []), cuda)]
if os.environ.get("ASSET3D_EMULATE") == "1":
    shared = [path for path in host if not path.endswith("_cpu.cpp")]
    extensions.append(extension("_emulated", shared + [emulated(path) for path in sources("*_cuda.cu")],
                                defines=("A3D_EMULATE",)))


class BuildPython(build_py):
    """Recipes live at the top of the checkout and inside the package of a wheel: `asset3d.run NAME` finds both."""

    def run(self):
        super().run()
        if not self.editable_mode:
            shutil.copytree("recipes", os.path.join(self.build_lib, "asset3d", "recipes"), dirs_exist_ok=True)


setup(packages=find_packages(include=["asset3d*"]), ext_modules=extensions,
      cmdclass={"build_py": BuildPython, "build_ext": BuildExtension.with_options(use_ninja=True)})
