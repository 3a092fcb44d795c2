"""What the tests of every operator share: devices, the CUDA schedule under the emulator, the check of compilation."""
import contextlib
import os

import pytest
import torch

HAS_CUDA = torch.cuda.is_available()
DEVICES = ["cpu", pytest.param("cuda", marks=pytest.mark.skipif(not HAS_CUDA, reason="no CUDA device"))]
SEEDS = range(2 if os.environ.get("ASSET3D_SANITIZED") else 8)
"""Orders of fibers. Others find races; for the sanitizers, under which fibers are thirty times slower, two will do."""


def emulated_module():
    """asset3d._emulated; skips where it was not built, unless in CI, where it must be."""
    try:
        from asset3d import _emulated
    except ImportError:
        if os.environ.get("CI") == "true":
            raise
        pytest.skip("asset3d._emulated is missing: build with ASSET3D_EMULATE=1")
    return _emulated


@contextlib.contextmanager
def fiber_order(seed: int):
    """Run emulated kernels in a shuffled order of blocks and threads; 0 is the natural order."""
    module = emulated_module()
    module.set_seed(seed)
    try:
        yield torch.ops.asset3d_emulated
    finally:
        module.set_seed(0)


def assert_emulated_equals_cpu(name: str, *args, seeds=SEEDS, **tolerance) -> None:
    """Run one operator by both schedules, for several fiber orders, and compare every output."""
    want = getattr(torch.ops.asset3d, name)(*args)
    for seed in seeds:
        with fiber_order(seed) as ops:
            torch.testing.assert_close(getattr(ops, name)(*args), want, **tolerance)


def assert_compiles(fn, *args, **tolerance) -> None:
    """`torch.compile(fullgraph=True)` accepts fn, and values and gradients stay the same."""
    torch._dynamo.reset()
    leaves = [a for a in args if isinstance(a, torch.Tensor) and a.requires_grad]
    want = fn(*args)
    got = torch.compile(fn, fullgraph=True, backend="aot_eager")(*args)
    torch.testing.assert_close(got, want, **tolerance)
    if leaves:
        torch.testing.assert_close(
            torch.autograd.grad(got.sum(), leaves), torch.autograd.grad(want.sum(), leaves), **tolerance)
