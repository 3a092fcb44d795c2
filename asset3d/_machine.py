"""What a run takes from the machine: its device, its number of threads, and torch's global switches."""
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from asset3d import __version__
from asset3d.errors import InputError


def kernels() -> dict[str, Any]:
    """What the built extension says about itself: `isa`, `cuda`, ...; nothing where it cannot be loaded."""
    try:
        from asset3d import _C
    except ImportError:
        return {}
    return _C.build_info()


def choose_device(device: str) -> str:
    """`auto` becomes cuda where torch sees a GPU and asset3d has kernels for it, else cpu."""
    if device != "auto":
        return device
    return "cuda" if torch.cuda.is_available() and kernels().get("cuda") else "cpu"


def require_device(device: str) -> None:
    """Refuse a device that nothing can be computed on.

    Raises:
        InputError: there are fewer GPUs, or no kernels for them.
    """
    if not device.startswith("cuda"):
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # cuBLAS repeats to the bit only with this
    count = torch.cuda.device_count() if torch.cuda.is_available() else 0
    if int(device.partition(":")[2] or 0) >= count:
        raise InputError(f"device={device}: torch sees {count} GPUs here; use device=cpu, or see "
                         "`python -m asset3d.doctor`")
    if not kernels().get("cuda"):
        raise InputError(f"device={device}: asset3d was built without its CUDA kernels; use device=cpu, or install it "
                         "again with ASSET3D_CUDA=1 where nvcc is; see `python -m asset3d.doctor`")


def what_decides_bytes(device: str) -> dict[str, str | None]:
    """Versions and processors: where they are the same, a recipe ends in the same bytes."""
    gpu = {"GPU": torch.cuda.get_device_name(device)} if device.startswith("cuda") else {}
    return {"asset3d": __version__, "torch": torch.__version__, "instruction set": kernels().get("isa")} | gpu


def default_threads() -> int:
    """One per core that this process may use, at least two."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(2, cores)


@contextmanager
def settings(threads: int, deterministic: bool) -> Iterator[None]:
    """torch's global switches as a recipe says, while a stage works; the host gets its own back."""
    before = (torch.get_num_threads(), torch.get_deterministic_debug_mode(),
              torch.utils.deterministic.fill_uninitialized_memory)
    try:
        if before[0] != threads:
            torch.set_num_threads(threads)
        # what use_deterministic_algorithms does, without its import of the compiler (0.8 s)
        torch.set_deterministic_debug_mode("error" if deterministic else "default")
        torch.utils.deterministic.fill_uninitialized_memory = False  # costs a pass over every new tensor
        yield
    finally:
        if before[0] != threads:
            torch.set_num_threads(before[0])
        torch.set_deterministic_debug_mode(before[1])
        torch.utils.deterministic.fill_uninitialized_memory = before[2]
