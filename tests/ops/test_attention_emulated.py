"""attention's CUDA kernels, run by the emulator: equal to the CPU's and to the reference, for every order of fibers."""
import pytest
import torch

from kit import SEEDS, assert_emulated_equals_cpu, fiber_order
from test_attention import MANY, attention_reference, case, relative, to, with_gradients

# A partial warp of queries, tiles that end inside a source, a source that serves two batches.
SMALL = dict(batch=2, heads=1, queries=21, sources=[(1, 37), (2, 5)])


def split(q, sources):
    return q.detach(), [k.detach() for k, _ in sources], [v.detach() for _, v in sources]


def emulated(ops, scale=None):
    """attention by the operators of the emulator, differentiable as torch.autograd.grad needs it."""

    class Function(torch.autograd.Function):
        @staticmethod
        def forward(ctx, q, *flat):
            ctx.inputs = q, list(flat[::2]), list(flat[1::2])
            ctx.scale = q.shape[-1] ** -0.5 if scale is None else scale
            ctx.results = ops.attention(*ctx.inputs, ctx.scale)
            return ctx.results[0]

        @staticmethod
        def backward(ctx, grad):
            want = [1] * len(ctx.inputs[1])
            grad_q, keys, values = ops.attention_backward(grad, *ctx.inputs, *ctx.results, ctx.scale, True, want)
            return grad_q, *(g for pair in zip(keys, values) for g in pair)

    return lambda q, sources: Function.apply(q, *(t for pair in sources for t in pair))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("shape", [SMALL, dict(queries=9, sources=[(2, 1)]), dict(queries=3, sources=[(1, 0)])], ids=str)
def test_equals_the_cpu(dtype, shape):
    """Sums in another order: float32 differs in its last bits."""
    inputs = split(*case(**shape, head_size=40, dtype=dtype))
    tolerance = dict(rtol=1e-4, atol=1e-5) if dtype == torch.float32 else dict(rtol=1e-9, atol=1e-9)
    assert_emulated_equals_cpu("attention", *inputs, 0.3, **tolerance)
    out, log_sum = torch.ops.asset3d.attention(*inputs, 0.3)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(5), dtype=torch.float64).to(dtype)
    for wanted in ((True, [1] * len(inputs[1])), (False, [1] * len(inputs[1])), (True, [0] * len(inputs[1]))):
        seeds = SEEDS if all(wanted) else [0]
        assert_emulated_equals_cpu("attention_backward", grad, *inputs, out, log_sum, 0.3, *wanted, seeds=seeds,
                                   **tolerance)


def assert_tensor_cores_are_right(seeds, dtype, **shape):
    """Values and gradients near those of float64; the same bits for every order of fibers."""
    inputs = case(**shape, dtype=dtype)
    want = with_gradients(attention_reference, *to(torch.float64, *inputs))
    bound = 1e-2 if dtype == torch.bfloat16 else 1.5e-3  # 8 bits, and 11 bits, of which sums lose a few
    first = None
    for seed in seeds:
        with fiber_order(seed) as ops:
            got = with_gradients(emulated(ops), *inputs)
        assert all(relative(a, b) < bound for a, b in zip(got, want) if b.norm() > 0)
        first = first or got
        assert all(torch.equal(a, b) for a, b in zip(got, first))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_tensor_cores(dtype):
    assert_tensor_cores_are_right(SEEDS, dtype, **SMALL, head_size=40)


@pytest.mark.parametrize("head_size", [5, 32, 64, 80, 128, 160, 200])
def test_head_sizes_of_tensor_cores(head_size):
    assert_tensor_cores_are_right([0], torch.bfloat16, queries=17, heads=1, batch=1, sources=[(1, 19)], head_size=head_size)


def test_several_tiles_of_tensor_cores():
    """More queries and more keys than a block or a tile holds."""
    assert_tensor_cores_are_right([0, 1], torch.bfloat16, batch=1, heads=1, queries=70, head_size=16,
                                  sources=[(1, 66), (1, 0), (1, 130)])


@pytest.mark.parametrize("sources", [[(2, 1)], [(1, 0), (1, 1)], [(2, 0)]], ids=str)
def test_one_key_and_none(sources):
    inputs = case(queries=9, head_size=16, sources=sources, dtype=torch.float16)
    with fiber_order(0) as ops:
        out, grad_q, *grads = with_gradients(emulated(ops), *inputs)
    assert not grad_q.any()
    want, _, *reference = with_gradients(attention_reference, *to(torch.float64, *inputs))
    torch.testing.assert_close(out.double(), want, rtol=0, atol=0)
    for got, exact in zip(grads, reference):
        torch.testing.assert_close(got.double(), exact, rtol=5e-4, atol=1e-6)  # float16 has 11 bits


def test_rows_that_are_not_aligned():
    """Slices that begin at odd elements are copied one by one."""
    q, [(k, v)] = case(queries=10, head_size=17, sources=[(2, 20)], dtype=torch.bfloat16)
    sliced = q[..., 1:], [(k[..., 1:], v[..., 1:])]
    with fiber_order(0) as ops:
        got = emulated(ops)(*sliced)
        assert torch.equal(got, emulated(ops)(sliced[0].contiguous(), [tuple(t.contiguous() for t in sliced[1][0])]))
    assert relative(got, attention_reference(*to(torch.float64, *sliced))) < 5e-3


def test_extreme_scores():
    """All keys far below zero: what pads the last tile must not win."""
    q, [(k, v)] = case(queries=5, head_size=16, sources=[(2, 11)], dtype=torch.float32)
    for dtype in (torch.float32, torch.bfloat16):
        inputs = to(dtype, q.abs() + 1, [(-k.abs() - 1, v)])
        want = with_gradients(lambda q, s: attention_reference(q, s, 30.0), *to(torch.float64, *inputs))
        with fiber_order(0) as ops:
            got = with_gradients(emulated(ops, 30.0), *inputs)
        assert all(torch.isfinite(t).all() for t in got) and relative(got[0], want[0]) < 1e-2


@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
@pytest.mark.parametrize("head_size", [32, 40, 64, 80, 128, 160, 256])
def test_on_cuda(dtype, head_size):
    """The same kernels by hardware, twice with the same bits."""
    inputs = case(**MANY, head_size=head_size, dtype=dtype, device="cuda")
    want = with_gradients(attention_reference, *to(torch.float64, *inputs))
    runs = [with_gradients(emulated(torch.ops.asset3d), *inputs) for _ in range(2)]
    assert all(relative(a, b) < 1e-2 for a, b in zip(runs[0], want))
    assert all(torch.equal(a, b) for a, b in zip(*runs))
