"""Kernels of other people behind our functions: used when they are asked for by name and installed, else refused.

A backend is a file beside this one, named after its package, with functions that take and return what ours do. None of
the packages is on PyPI under its name (what is there is something else), so each says where it comes from.
"""
import importlib
from importlib.util import find_spec
from types import ModuleType

import torch
from torch import Tensor

from asset3d.errors import MissingDependency

NATIVE = "native"
FAMILIES = {"triangle": ("nvdiffrast",), "hash_grid": ("tinycudann",), "marching_tets": ("kaolin",)}
"""The backends that each family of operators may have besides ours."""
HOMES = {"nvdiffrast": "https://github.com/NVlabs/nvdiffrast (its licence allows research and evaluation only)",
         "tinycudann": "https://github.com/NVlabs/tiny-cuda-nn (bindings/torch)",
         "kaolin": "https://github.com/NVIDIAGameWorks/kaolin"}
DOCUMENTED = {"nvdiffrast.torch": ("RasterizeCudaContext", "rasterize", "interpolate", "texture", "antialias"),
              "tinycudann": ("Encoding",), "kaolin.ops.conversions": ("marching_tetrahedra",)}
"""What must be in a module for it to be the one that is meant."""


def installed(name: str) -> str:
    """The name of a backend that is there; for validators of configs. Looks for the package without importing it.

    Raises:
        ValueError: It is not installed; says where it comes from.
    """
    if name != NATIVE and find_spec(name) is None:
        raise ValueError(f"backend '{name}' is not installed; get it from {HOMES[name]}, or leave `backend` out")
    return name


def backend(family: str, name: str) -> ModuleType:
    """The module with a family's functions: `backend("triangle", "nvdiffrast").rasterize(...)`.

    Raises:
        ValueError: A name that the family does not know. MissingDependency: the package is not installed.
    """
    if name == NATIVE:
        return importlib.import_module(f"asset3d.ops.{family}")
    if name not in FAMILIES[family]:
        raise ValueError(f"{family}: `backend` must be one of {', '.join((NATIVE, *FAMILIES[family]))}, got {name!r}")
    try:
        installed(name)
    except ValueError as error:
        raise MissingDependency(str(error)) from None
    return importlib.import_module(f"asset3d.ops._{name}")


def package(name: str) -> ModuleType:
    """A module of a backend's package.

    Raises:
        MissingDependency: Another package has taken its name: it lacks what the documented one has.
    """
    module, home = importlib.import_module(name), HOMES[name.split(".")[0]]
    missing = [attribute for attribute in DOCUMENTED[name] if not hasattr(module, attribute)]
    if missing:
        raise MissingDependency(f"the package '{name}' that is installed is another one of this name: it has no "
                                f"{', '.join(missing)}; get the right one from {home}")
    return module


def need_cuda_float32(op: str, name: str, *tensors: Tensor) -> None:
    """Refuse tensors that a backend would crash on."""
    for tensor in tensors:
        if not tensor.is_cuda:
            raise ValueError(f"{op}: backend '{name}' runs on CUDA only, got a tensor on {tensor.device}; leave "
                             "`backend` out on this device")
        if tensor.is_floating_point() and tensor.dtype != torch.float32:
            raise TypeError(f"{op}: backend '{name}' takes float32 only, got {tensor.dtype}")
