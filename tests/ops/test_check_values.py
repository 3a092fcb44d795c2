"""asset3d.check_values: operators on CUDA look at their values only when asked to."""
import pytest
import torch
from kit import emulated_module, fiber_order

import asset3d
from asset3d import _C
from asset3d.ops.hash_grid import hash_grid_encode, hash_grid_levels

LEVELS = hash_grid_levels(2, 4, 8, 10)
BAD = torch.tensor([[0.1, float("nan"), 0.2]])
MESSAGE = "hash_grid_encode: `x` has a value that is not finite at flat index 1: nan"


def table():
    return torch.ones(LEVELS.first_rows[-1], 2)


def test_emulated_cuda():
    """The emulated operators take their tensors as if they were on a GPU."""
    module = emulated_module()
    with fiber_order(0) as ops:
        assert ops.hash_grid_encode(BAD, table(), *LEVELS).isfinite().all()  # a NaN counts as 0: memory is safe
        module.check_values(True)
        try:
            with pytest.raises(RuntimeError, match=MESSAGE):
                ops.hash_grid_encode(BAD, table(), *LEVELS)
            assert ops.hash_grid_encode(torch.rand(5, 3), table(), *LEVELS).isfinite().all()
        finally:
            module.check_values(False)
        ops.hash_grid_encode(BAD, table(), *LEVELS)


def test_the_cpu_always_looks():
    asset3d.check_values(False)
    with pytest.raises(RuntimeError, match=MESSAGE):
        hash_grid_encode(BAD, table(), *LEVELS)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_cuda():
    bad, rows = BAD.cuda(), table().cuda()
    hash_grid_encode(bad, rows, *LEVELS)
    asset3d.check_values(True)
    try:
        with pytest.raises(RuntimeError, match=MESSAGE):
            hash_grid_encode(bad, rows, *LEVELS)
    finally:
        asset3d.check_values(False)


def test_the_switch_reaches_the_kernels(monkeypatch):
    seen = []
    monkeypatch.setattr(_C, "check_values", seen.append)
    asset3d.check_values(True)
    asset3d.check_values(False)
    assert seen == [True, False]
