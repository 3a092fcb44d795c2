"""hash_grid_encode: reference, derivatives, layout of tiny-cuda-nn, refusals, determinism, CUDA schedule emulated."""
import math
import os
import subprocess
import sys

import pytest
import torch

from asset3d.ops.hash_grid import HashGridLevels, hash_grid_encode, hash_grid_encode_reference, hash_grid_levels
from kit import DEVICES, SEEDS, assert_compiles, assert_emulated_equals_cpu, fiber_order

# Two dense levels, one hashed with a power of two of rows, one hashed with another number.
MIXED = HashGridLevels([3.0, 6.2, 11.5, 19.0], [4, 8, 13, 20], [0, 64, 64 + 512, 64 + 512 + 256, 64 + 512 + 256 + 99])
LANES = hash_grid_levels(5, 4, 40, 8)
FLOAT_BELOW_HALF = 0.5 - 2**-25  # plus 0.5 it is 1 in float32


def grid(device, dtype, n=7, features=2, levels=MIXED, seed=0, inside=True):
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 3, generator=generator, dtype=dtype)
    if not inside:
        x = x * 3 - 1
    table = torch.randn(levels.first_rows[-1], features, generator=generator, dtype=dtype)
    return x.to(device).requires_grad_(), table.to(device).requires_grad_(), *levels


def test_levels_of_tiny_cuda_nn():
    levels = hash_grid_levels(16, 16, 2048, 19)
    assert levels.resolutions[:4] == [16, 23, 31, 43] and levels.resolutions[-1] == 2048
    assert levels.scales[0] == 15.0
    rows = [b - a for a, b in zip(levels.first_rows, levels.first_rows[1:])]
    assert rows[0] == 16**3 and rows[1] == 23**3 + 1 and rows[-1] == 2**19  # 23**3 = 12167, rounded up to 8 rows
    assert 6.0e6 < levels.first_rows[-1] < 6.2e6


@pytest.mark.parametrize("arguments, message", [
    ((0, 16, 2048, 19), "n_levels"), ((16, 0, 2048, 19), "base_resolution"),
    ((16, 64, 32, 19), "base_resolution"), ((16, 16, 2048, 40), "log2_hashmap_size"),
])
def test_bad_levels(arguments, message):
    with pytest.raises(ValueError, match=message):
        hash_grid_levels(*arguments)


def test_known_values():
    """By hand: the corner x = 0 lies at vertex 0.5 on every axis, so it sees 8 vertices of weight 1/8."""
    table = torch.arange(64, dtype=torch.float32)[:, None]
    levels = HashGridLevels([3.0], [4], [0, 64])
    rows = [x + 4 * y + 16 * z for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    assert hash_grid_encode(torch.zeros(1, 3), table, *levels).item() == sum(rows) / 8
    hashed = HashGridLevels([3.0], [4], [0, 32])
    primes = (1, 2654435761, 805459861)
    rows = [(x ^ (y * primes[1] & 0xFFFFFFFF) ^ (z * primes[2] & 0xFFFFFFFF)) % 32
            for x in (0, 1) for y in (0, 1) for z in (0, 1)]
    assert hash_grid_encode(torch.zeros(1, 3), table, *hashed).item() == sum(rows) / 8


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("features", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("levels", [MIXED, LANES], ids=["mixed", "lanes"])
def test_matches_reference(device, features, levels):
    args = grid(device, torch.float64, 101, features, levels, inside=False)
    torch.testing.assert_close(hash_grid_encode(*args), hash_grid_encode_reference(*args))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("features", [1, 2, 3, 4, 8])
@pytest.mark.parametrize("n", [0, 1, 5, 1037])
def test_float32_matches_float64(device, features, n):
    """Values and both derivatives; the vectorised loops are those of float32."""
    x, table, *levels = grid(device, torch.float64, n, features, LANES, inside=False)
    results = []
    for dtype in (torch.float32, torch.float64):
        generator = torch.Generator().manual_seed(7)
        p, t = x.detach().to(dtype).requires_grad_(), table.detach().to(dtype).requires_grad_()
        out = hash_grid_encode(p, t, *levels)
        g = torch.randn(out.shape, generator=generator, dtype=torch.float64).to(device, dtype).requires_grad_()
        first = torch.autograd.grad(out, (p, t), g, create_graph=True)
        v = [torch.randn(f.shape, generator=generator, dtype=torch.float64).to(device, dtype) for f in first]
        second = torch.autograd.grad(first, (g, p, t), v)
        results.append([r.double() for r in (out, *first, *second)])
    for got, want in zip(*results):
        size = want.abs().max().item() if want.numel() else 1.0  # sums of up to 1037 terms of both signs
        torch.testing.assert_close(got, want, rtol=1e-4, atol=2e-5 * size)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("inside", [True, False])
def test_first_and_second_derivative(device, inside):
    x, table, *levels = grid(device, torch.float64, n=3, levels=MIXED, inside=inside)
    fn = lambda x, t: hash_grid_encode(x, t, *levels)  # noqa: E731
    torch.autograd.gradcheck(fn, (x, table), fast_mode=False)
    torch.autograd.gradgradcheck(fn, (x, table), fast_mode=True)
    few = HashGridLevels([1.0, 4.0], [2, 5], [0, 8, 8 + 16])
    x, table, *levels = grid(device, torch.float64, n=3, levels=few, inside=inside)
    torch.autograd.gradgradcheck(lambda x, t: hash_grid_encode(x, t, *few), (x, table))


def test_no_gradient_outside():
    x, table, *levels = grid("cpu", torch.float64, n=4)
    with torch.no_grad():
        x.copy_(torch.tensor([[1.5, 0.3, 0.3], [-0.1, -7, 0.4], [0.0, 1.0, 0.5], [2, 2, 2]]))
    (grad,) = torch.autograd.grad(hash_grid_encode(x, table, *levels).sum(), x)
    assert ((grad != 0) == torch.tensor([[0, 1, 1], [0, 0, 1], [1, 1, 1], [0, 0, 0]], dtype=torch.bool)).all()
    clamped = hash_grid_encode(x.clamp(0, 1), table, *levels)
    torch.testing.assert_close(hash_grid_encode(x, table, *levels), clamped, rtol=0, atol=0)


def test_third_derivative_is_refused():
    x, table, *levels = grid("cpu", torch.float64)
    (first,) = torch.autograd.grad(hash_grid_encode(x, table, *levels).square().sum(), x, create_graph=True)
    (second,) = torch.autograd.grad(first.sum(), x, create_graph=True)
    with pytest.raises(NotImplementedError, match="third derivative"):
        second.sum().backward()


def test_only_what_is_asked_for_is_computed(monkeypatch):
    """Normals need the gradient of the points alone; that of the table costs more than the rest of a step."""
    x, table, *levels = grid("cpu", torch.float64)
    calls = []

    class Recorder(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if "hash_grid" in str(func):
                calls.append((str(func), [a for a in args if isinstance(a, bool)]))
            return func(*args, **kwargs or {})

    out = hash_grid_encode(x, table, *levels)
    with Recorder():
        (normal,) = torch.autograd.grad(out.sum(), x, create_graph=True)
        torch.autograd.grad(normal.square().sum(), table)
    assert [flags[:-1] for _, flags in calls] == [[True, False], [False, False, True]]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n", [0, 1, 5])
def test_opcheck(device, n):
    x, table, *levels = grid(device, torch.float32, n=n)
    torch.library.opcheck(torch.ops.asset3d.hash_grid_encode.default, (x, table, *levels))
    g = torch.randn(n, 4 * 2, generator=torch.Generator().manual_seed(1)).to(device).requires_grad_()
    first = (g, x, table, *levels, True, True, False)
    torch.library.opcheck(torch.ops.asset3d.hash_grid_encode_backward.default, first)
    second = (g, x, table, x.detach().clone(), None, *levels, True, True, True, False)
    torch.library.opcheck(torch.ops.asset3d.hash_grid_encode_double_backward.default, second,
                          test_utils=("test_schema", "test_autograd_registration", "test_faketensor"))


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device):
    x, table, *levels = grid(device, torch.float32)
    assert_compiles(lambda x, t: hash_grid_encode(x, t, *levels).sin(), x, table)


@pytest.mark.parametrize("change, error, message", [
    (dict(x=torch.rand(7)), ValueError, r"hash_grid_encode: `x` must have shape \(N, 3\), got \(7,\)"),
    (dict(x=torch.rand(7, 2)), ValueError, r"hash_grid_encode: `x` must have shape \(N, 3\), got \(7, 2\)"),
    (dict(x=torch.rand(7, 3).double()), TypeError, r"`table` is torch.float32 but `x` is torch.float64"),
    (dict(x=torch.rand(7, 3).half(), table=torch.rand(931, 2).half()), RuntimeError, "float32 or float64"),
    (dict(x=torch.rand(7, 3, device="meta")), ValueError, "`table` is on cpu but `x` is on meta"),
    (dict(x=torch.tensor([[0.1, float("nan"), 0.2]])), RuntimeError, "`x` has a value that is not finite"),
    (dict(x=torch.tensor([[0.1, 0.5, float("inf")]])), RuntimeError, "`x` has a value that is not finite"),
    (dict(table=torch.rand(9)), ValueError, r"`table` must have shape \(rows, F\)"),
    (dict(table=torch.rand(930, 2)), ValueError, "ends at 931 but `table` has 930 rows"),
    (dict(table=torch.rand(931, 0)), ValueError, "1 to 64 features"),
    (dict(first_rows=[0, 64]), ValueError, "L \\+ 1 `first_rows`"),
    (dict(first_rows=[0, 64, 64, 832, 931]), ValueError, "must increase"),
    (dict(first_rows=[-1, 64, 576, 832, 931]), ValueError, "must increase"),
    (dict(scales=[3.0, 7.5, 11.5, 19.0]), ValueError, "scale 7.5 does not fit resolution 8"),
    (dict(scales=[float("nan"), 6.2, 11.5, 19.0]), ValueError, "does not fit"),
    (dict(scales=[3.0]), ValueError, "L `scales`"),
    (dict(scales=[0.0], resolutions=[1], first_rows=[0, 1]), ValueError, "level 0 has resolution 1 and must have 2"),
    (dict(scales=[3.4999999999, 6.2, 11.5, 19.0]), ValueError, "does not fit resolution 4: in torch.float32"),
    (dict(scales=[math.nextafter(0.5, 0)], resolutions=[1], first_rows=[0, 8]), ValueError, "not fit resolution 1"),
    (dict(scales=[FLOAT_BELOW_HALF], resolutions=[1], first_rows=[0, 8]), ValueError, "not fit resolution 1"),
])
def test_bad_input(change, error, message):
    x, table, scales, resolutions, first_rows = grid("cpu", torch.float32)
    arguments = dict(x=x, table=table, scales=scales, resolutions=resolutions, first_rows=first_rows) | change
    with pytest.raises(error, match=message):
        hash_grid_encode(**arguments)


@pytest.mark.parametrize("scale, resolution, rows, dtype", [
    (0.0, 1, 1, torch.float32), (2.4999999999, 3, 64, torch.float32), (FLOAT_BELOW_HALF, 1, 8, torch.float32),
    (1.5, 2, 8, torch.float64),
])
def test_kernels_guard_their_memory(scale, resolution, rows, dtype):
    """The registered operators can be called without the wrapper."""
    x, table = torch.ones(1, 3, dtype=dtype), torch.ones(64, 1, dtype=dtype)
    levels = [scale], [resolution], [0, rows]
    with pytest.raises(RuntimeError, match="scale does not fit|resolution 1 needs 2 rows"):
        torch.ops.asset3d.hash_grid_encode(x, table[:rows], *levels)
    with pytest.raises(RuntimeError, match="scale does not fit|resolution 1 needs 2 rows"):
        torch.ops.asset3d.hash_grid_encode_backward(x[:, :1], x, table[:rows], *levels, True, True, False)


@pytest.mark.parametrize("scale, resolution, rows", [
    (0.0, 1, 2), (0.0, 1, 3), (math.nextafter(FLOAT_BELOW_HALF, 0) - 1e-7, 1, 2), (1.0, 2, 8), (1.4999998, 2, 8),
    (1.4, 2, 7), (1.4, 2, 2), (1.4, 2, 1), (2.4, 3, 27),
])
def test_smallest_levels(scale, resolution, rows):
    """One vertex per axis, no row to spare, hashed into one row: nothing behind the level is read or written."""
    levels = [scale, scale], [resolution, resolution], [5, 5 + rows, 5 + 2 * rows]
    corners = torch.cartesian_prod(*[torch.tensor([0.0, 0.3, 1.0])] * 3)
    x = corners.repeat(2, 1).double().requires_grad_()
    generator = torch.Generator().manual_seed(2)
    table = torch.randn(5 + 2 * rows + 9, 2, generator=generator, dtype=torch.float64).requires_grad_()
    want = hash_grid_encode_reference(x, table, *levels)
    weight = torch.randn(want.shape, generator=generator, dtype=torch.float64)
    grads = torch.autograd.grad((want * weight).sum(), (x, table))
    for dtype in (torch.float64, torch.float32):
        p, t = x.detach().to(dtype).requires_grad_(), table.detach().to(dtype).requires_grad_()
        out = hash_grid_encode(p, t, *levels)
        got = torch.autograd.grad((out * weight.to(dtype)).sum(), (p, t))
        tolerance = dict(rtol=1e-5, atol=2e-5) if dtype == torch.float32 else {}
        torch.testing.assert_close((out, *got), (want.to(dtype), *(g.to(dtype) for g in grads)), **tolerance)
        assert not got[1][:5].any() and not got[1][5 + 2 * rows:].any()
        assert_emulated_equals_cpu("hash_grid_encode", p.detach(), t.detach(), *levels, seeds=[0], **tolerance)


def test_strided_input():
    x, table, *levels = grid("cpu", torch.float32, n=20)
    want = hash_grid_encode(x[::2], table, *levels)
    torch.testing.assert_close(want, hash_grid_encode(x, table, *levels)[::2], rtol=0, atol=0)
    torch.testing.assert_close(hash_grid_encode(x, table.t().contiguous().t(), *levels)[::2], want, rtol=0, atol=0)


def all_derivatives(n, threads, device="cpu"):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        x, table, *levels = grid(device, torch.float32, n=n, levels=LANES)
        out = hash_grid_encode(x, table, *levels)
        first = torch.autograd.grad(out.sin().sum(), (x, table), create_graph=True)
        return out, *first, *torch.autograd.grad(first[0].square().sum() + first[1].square().sum(), (x, table))
    finally:
        torch.set_num_threads(before)


def test_same_bits_for_any_number_of_threads():
    want = all_derivatives(5000, 1)
    for threads in (2, 3, 7, 16):
        for a, b in zip(all_derivatives(5000, threads), want):
            assert torch.equal(a, b)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_same_bits_on_cuda():
    torch.use_deterministic_algorithms(True)
    try:
        runs = [all_derivatives(5000, 2, "cuda") for _ in range(3)]
    finally:
        torch.use_deterministic_algorithms(False)
    for run in runs[1:]:
        assert all(torch.equal(a, b) for a, b in zip(run, runs[0]))


ISA_PROGRAM = """
import torch
from test_hash_grid import all_derivatives
torch.save(all_derivatives(77, 2), {path!r})
"""


@pytest.mark.parametrize("isa", ["baseline", "avx2"])
def test_instruction_sets_agree(isa, tmp_path, monkeypatch):
    path = tmp_path / "result.pt"
    environment = dict(os.environ, ASSET3D_ISA=isa, PYTHONPATH=os.pathsep.join(sys.path))
    subprocess.run([sys.executable, "-c", ISA_PROGRAM.format(path=str(path))], env=environment, check=True)
    for got, want in zip(torch.load(path), all_derivatives(77, 2)):
        torch.testing.assert_close(got, want.detach(), rtol=1e-5, atol=1e-5 * want.abs().max().item())


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("n", [0, 1, 300])
def test_emulated_cuda(dtype, n):
    """Sums in another order: float32 differs in its last bits, relative to the largest term."""
    x, table, *levels = grid("cpu", dtype, n=n, inside=False)
    x, table = x.detach(), table.detach()
    generator = torch.Generator().manual_seed(3)
    g = torch.randn(n, 8, generator=generator, dtype=dtype)
    v = torch.randn(n, 3, generator=generator, dtype=dtype)
    w = torch.randn(table.shape, generator=generator, dtype=dtype)
    tolerance = dict(rtol=1e-4, atol=1e-3) if dtype == torch.float32 else dict(rtol=1e-7, atol=1e-7)
    assert_emulated_equals_cpu("hash_grid_encode", x, table, *levels, **tolerance)
    for exact in (False, True):
        assert_emulated_equals_cpu("hash_grid_encode_backward", g, x, table, *levels, True, True, exact, **tolerance)
        assert_emulated_equals_cpu("hash_grid_encode_double_backward", g, x, table, v, w, *levels, True, True, True,
                                   exact, **tolerance)
    for given in ((v, None), (None, w)):
        assert_emulated_equals_cpu("hash_grid_encode_double_backward", g, x, table, *given, *levels, True, True, True,
                                   False, seeds=[0], **tolerance)


def test_emulated_cuda_is_deterministic_on_request():
    x, table, *levels = grid("cpu", torch.float32, n=200)
    g = torch.randn(200, 8, generator=torch.Generator().manual_seed(3))
    runs = {True: [], False: []}
    for exact, results in runs.items():
        for seed in SEEDS:
            with fiber_order(seed) as ops:
                results.append(ops.hash_grid_encode_backward(g, x, table, *levels, True, True, exact))
    assert all(torch.equal(a, b) for run in runs[True] for a, b in zip(run, runs[True][0]))
    assert not all(torch.equal(run[1], runs[False][0][1]) for run in runs[False]), "the orders were all the same"
