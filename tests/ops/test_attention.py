"""attention: reference, derivatives, sources that are not concatenated, refusals, determinism, instruction sets."""
import math
import os
import subprocess
import sys

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from asset3d.ops.attention import attention, attention_reference
from kit import DEVICES, assert_compiles

HEAD_SIZES = [32, 40, 64, 80, 128, 160]
MANY = dict(batch=4, heads=2, queries=67, sources=[(2, 33), (4, 130), (1, 1)])


def case(batch=2, heads=2, queries=7, head_size=8, sources=((2, 5), (1, 3)), dtype=torch.float32, device="cpu", seed=0):
    """Queries, and keys and values of (batch, keys) each."""
    generator = torch.Generator().manual_seed(seed)

    def draw(n_batch, rows):
        values = torch.randn(n_batch, heads, rows, head_size, generator=generator, dtype=torch.float64)
        return values.to(device, dtype).requires_grad_()

    return draw(batch, queries), [(draw(b, m), draw(b, m)) for b, m in sources]


def leaves_of(q, sources):
    return [q, *(tensor for pair in sources for tensor in pair)]


def to(dtype, q, sources):
    convert = lambda t: t.detach().to(dtype).requires_grad_()  # noqa: E731
    return convert(q), [(convert(k), convert(v)) for k, v in sources]


def with_gradients(fn, q, sources, **options):
    """The output and the gradients of all inputs, for a fixed gradient of the output."""
    out = fn(q, sources, **options)
    grad = torch.randn(out.shape, generator=torch.Generator().manual_seed(9)).bfloat16().to(out)  # the same in all dtypes
    return [out, *torch.autograd.grad(out, leaves_of(q, sources), grad)]


def relative(got, want):
    """L2 norm of the difference over that of what is wanted."""
    return ((got.double() - want).norm() / want.norm()).item() if want.numel() else 0.0


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("head_size", [1, 5, *HEAD_SIZES, 256])
def test_matches_reference(device, head_size):
    inputs = case(**MANY, head_size=head_size, dtype=torch.float64, device=device)
    for got, want in zip(with_gradients(attention, *inputs), with_gradients(attention_reference, *inputs)):
        torch.testing.assert_close(got, want)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype, bound", [(torch.float32, 5e-6), (torch.bfloat16, 1e-2)], ids=["float32", "bfloat16"])
@pytest.mark.parametrize("shape", [
    dict(**MANY), dict(queries=1), dict(queries=1, sources=[(1, 2)]), dict(queries=200, sources=[(1, 77)]),
    dict(queries=49, sources=[(2, 700)]), dict(queries=16, sources=[(1, 129), (1, 0), (2, 128)]),
    dict(queries=33, sources=[(2, 4)] * 16), dict(batch=1, heads=1, queries=700, sources=[(1, 1300)]),
], ids=str)
@pytest.mark.parametrize("head_size", [3, *HEAD_SIZES])
def test_precision(device, dtype, bound, shape, head_size):
    """Against float64 of the same (rounded) inputs. A bfloat16 has 3 significant digits: 4e-3 between neighbours; and
    where one query has few keys, the rounding of the saved output is large beside small gradients: 4 times that."""
    inputs = case(**shape, head_size=head_size, dtype=dtype, device=device)
    got = with_gradients(attention, *inputs)
    want = with_gradients(attention_reference, *to(torch.float64, *inputs))
    assert all(t.dtype == dtype for t in got) and relative(got[0], want[0]) < bound / 2
    few = dtype == torch.bfloat16 and shape.get("queries") == 1
    assert all(relative(a, b) < (4 * bound if few else bound) for a, b in zip(got[1:], want[1:]))


def test_known_values():
    """Two keys with scores 0 and log 3: probabilities 1/4 and 3/4."""
    q, k = torch.tensor([[[[1.0, 0.0]]]]), torch.tensor([[[[0.0, 5.0], [math.log(3), 7.0]]]])
    v = torch.tensor([[[[8.0, 4.0], [0.0, 12.0]]]])
    torch.testing.assert_close(attention(q, [(k, v)], scale=1.0), torch.tensor([[[[2.0, 10.0]]]]))
    apart = [(k[:, :, :1], v[:, :, :1]), (k[:, :, 1:], v[:, :, 1:])]
    torch.testing.assert_close(attention(q, apart, scale=1.0), torch.tensor([[[[2.0, 10.0]]]]))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_source_serves_neighbouring_batches(dtype):
    """Batch b is served by b // (B / Bs): of 6 queries and 2 references, 0..2 see the first."""
    q, [(k, v)] = case(batch=6, queries=9, sources=[(2, 21)], dtype=dtype)
    got = attention(q, [(k, v)])
    for b in range(6):
        alone = attention(q[b : b + 1], [(k[b // 3 : b // 3 + 1], v[b // 3 : b // 3 + 1])])
        assert torch.equal(got[b : b + 1], alone)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("sources", [[(2, 1)], [(1, 1)], [(1, 0), (2, 1)]], ids=str)
def test_one_key_leaves_nothing_to_choose(device, dtype, sources):
    """Every query sees its value; to_q and to_k of such a layer learn nothing: their gradients are zeros, not None."""
    q, pairs = case(queries=301, sources=sources, dtype=dtype, device=device)
    out, grad_q, *grads = with_gradients(attention, q, pairs)
    k, v = pairs[-1]
    assert torch.equal(out, v.repeat_interleave(2 // v.shape[0], 0).expand_as(out))
    assert torch.equal(grad_q, torch.zeros_like(q)) and torch.equal(grads[-2], torch.zeros_like(k))
    want = with_gradients(attention_reference, *to(torch.float64, q, pairs))[-1]
    assert relative(grads[-1], want) < (3e-3 if dtype == torch.bfloat16 else 1e-6)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_nothing_to_see(device, dtype):
    inputs = case(queries=5, sources=[(1, 0), (2, 0)], dtype=dtype, device=device)
    out, *grads = with_gradients(attention, *inputs)
    assert torch.equal(out, torch.zeros_like(out)) and torch.equal(grads[0], torch.zeros_like(grads[0]))
    for shape in (dict(queries=0), dict(batch=0, sources=[(0, 5)]), dict(heads=0)):
        q, sources = case(**shape, dtype=dtype, device=device)
        out, *grads = with_gradients(attention, q, sources)
        assert out.shape == q.shape and all(not g.any() for g in grads)
        assert [g.shape for g in grads] == [leaf.shape for leaf in leaves_of(q, sources)]


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("sources", [[(2, 3)], [(1, 2), (2, 3)], [(2, 1)]], ids=str)
def test_derivatives(device, sources):
    q, pairs = case(queries=3, head_size=2, sources=sources, dtype=torch.float64, device=device)

    def fn(q, *flat):
        return attention(q, list(zip(flat[::2], flat[1::2])), scale=0.7)

    torch.autograd.gradcheck(fn, tuple(leaves_of(q, pairs)))


def test_second_derivative_is_refused():
    q, sources = case()
    (grad,) = torch.autograd.grad(attention(q, sources).square().sum(), q, create_graph=True)
    with pytest.raises(NotImplementedError, match="attention has no second derivative"):
        grad.sum().backward()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("queries", [0, 1, 5])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_opcheck(device, queries, dtype):
    q, sources = case(queries=queries, dtype=dtype, device=device)
    keys, values = [k for k, _ in sources], [v for _, v in sources]
    torch.library.opcheck(torch.ops.asset3d.attention.default, (q, keys, values, 0.3))
    with torch.no_grad():
        out, log_sum = torch.ops.asset3d.attention(q, keys, values, 0.3)
    plain = [t.detach() for t in keys], [t.detach() for t in values]
    for want_q, want_sources in ((True, [1, 1]), (False, [0, 1]), (True, [0, 0])):
        arguments = (torch.ones_like(out), q.detach(), *plain, out, log_sum, 0.3, want_q, want_sources)
        torch.library.opcheck(torch.ops.asset3d.attention_backward.default, arguments)


@pytest.mark.parametrize("device", DEVICES)
def test_compiles_without_graph_break(device):
    q, sources = case(device=device)
    assert_compiles(lambda q, a, b, c, d: attention(q, [(a, b), (c, d)]).sin(), *leaves_of(q, sources))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("scale", [1e4, -1e4, 1e-30, 0.0])
def test_extreme_scores(dtype, scale):
    """Scores of +-1e5 choose one key each; nothing overflows."""
    inputs = case(queries=50, sources=[(2, 140), (1, 60)], head_size=16, dtype=dtype)
    got = with_gradients(attention, *inputs, scale=scale)
    want = with_gradients(attention_reference, *to(torch.float64, *inputs), scale=scale)
    assert all(torch.isfinite(t).all() for t in got)
    # 1e5 has 0.008 between neighbours in float32, so where two keys come close their probabilities move by percents.
    assert relative(got[0], want[0]) < (2e-2 if abs(scale) > 1 and dtype != torch.float64 else 5e-3)


def test_probabilities_never_exceed_one():
    """However large the scores: with one key that wins, the gradient of its value is the sum over the queries."""
    q, k, v = torch.full((1, 1, 100, 4), 3e3), torch.tensor([3e3, -3e3]).view(1, 1, 2, 1).expand(1, 1, 2, 4), T(1, 1, 2, 4)
    (grad,) = torch.autograd.grad(attention(q, [(k, v.requires_grad_())]).sum(), v)
    assert (grad[0, 0, 0] - 100).abs().max() < 1e-4 and (grad[0, 0, 1] < 1e-20).all()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_scores_far_below_zero(dtype):
    """What pads the last block of keys has a score of 0, which must not win."""
    q, [(k, v)] = case(queries=50, head_size=16, sources=[(2, 11)])
    inputs = to(dtype, q.abs() + 1, [(-k.abs() - 1, v)])
    got = with_gradients(attention, *inputs, scale=30.0)
    want = with_gradients(attention_reference, *to(torch.float64, *inputs), scale=30.0)
    assert all(torch.isfinite(t).all() for t in got) and relative(got[0], want[0]) < 5e-3


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_projections_are_read_in_place(dtype):
    """Heads as diffusers leaves them, (B, N, H, D) transposed, slices of a fused projection, a broadcast source."""
    generator = torch.Generator().manual_seed(4)
    fused = torch.randn(2, 50, 3 * 4 * 32, generator=generator).to(dtype)
    q, k, v = (t.view(2, 50, 4, 32).transpose(1, 2) for t in fused.chunk(3, -1))
    shared = torch.randn(1, 4, 9, 32, generator=generator).to(dtype).expand(2, -1, -1, -1)
    with Dispatched() as names:
        out = attention(q, [(k, v), (shared, shared)])
    assert names == ["asset3d.attention"] or set(names) <= {"asset3d.attention", "aten.detach"}
    assert out.stride() == (50 * 128, 32, 128, 1)
    want = attention(q.contiguous(), [(k.contiguous(), v.contiguous()), (shared.contiguous(),) * 2])
    assert torch.equal(out, want)


def test_other_strides():
    """Channels that do not lie side by side are copied, rows in any order are not."""
    q, [(k, v)] = case(queries=9, sources=[(2, 12)], dtype=torch.float64)
    want = with_gradients(attention, q, [(k, v)])

    def twisted(q, pairs):
        k, v = (t.transpose(-1, -2).contiguous().transpose(-1, -2) for t in pairs[0])
        return attention(q.flip(2)[:, :, ::3], [(k, v)])

    torch.testing.assert_close(twisted(q, [(k, v)]), want[0].flip(2)[:, :, ::3])
    out = attention(q, [(k, v)])
    (grad,) = torch.autograd.grad(out.sum(), v)  # a gradient of ones with strides of 0
    torch.testing.assert_close(grad, torch.autograd.grad(attention_reference(q, [(k, v)]).sum(), v)[0])


class Dispatched(TorchDispatchMode):
    """Names of the operators that run inside."""

    def __enter__(self):
        super().__enter__()
        self.names = []
        return self.names

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.names.append(str(func).removesuffix(".default"))
        return func(*args, **kwargs or {})


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_sources_are_never_concatenated(device, dtype):
    """One operator forward and one backward: no cat, no scaled_dot_product_attention, no copy of a source."""
    q, sources = case(**MANY, head_size=64, dtype=dtype, device=device)
    with Dispatched() as names:
        out = attention(q, sources)
        assert [n for n in names if n != "aten.detach"] == ["asset3d.attention"]
        grad = torch.ones_like(out)
        names.clear()
        torch.autograd.grad(out, leaves_of(q, sources), grad)
    assert [n for n in names if n != "aten.detach"] == ["asset3d.attention_backward"]


def test_only_what_is_asked_for_is_computed():
    q, sources = case()
    flags = []

    class Recorder(TorchDispatchMode):
        def __torch_dispatch__(self, func, types, args=(), kwargs=None):
            if "attention_backward" in str(func):
                flags.append(args[-2:])
            return func(*args, **kwargs or {})

    out = attention(q, sources)
    with Recorder():
        for leaves in (q, sources[1][1], (q, sources[0][0])):
            torch.autograd.grad(out.sum(), leaves, retain_graph=True)
    assert flags == [(True, [0, 0]), (False, [0, 1]), (True, [1, 0])]


T = torch.rand
Q, K = T(2, 3, 5, 8), T(2, 3, 4, 8)


@pytest.mark.parametrize("q, sources, scale, error, message", [
    (T(3, 5, 8), [(K, K)], None, ValueError, r"`q` must have shape \(B, H, N, D\), got \(3, 5, 8\)"),
    (Q, [], None, ValueError, r"`sources` must hold 1 to 16 pairs \(k, v\), got 0"),
    (Q, [(K, K)] * 17, None, ValueError, "got 17"),
    (Q, [(K,)], None, ValueError, r"`sources\[0\]` must be a pair \(k, v\), got 1 values"),
    (Q, [K], None, ValueError, r"`sources\[0\]` must be a pair \(k, v\), got Tensor"),
    (Q, [(K, K), (K[0], K)], None, ValueError, r"`sources\[1\] k` must have shape \(Bs, H, M, D\), got \(3, 4, 8\)"),
    (Q, [(K, T(2, 3, 5, 8))], None, ValueError, r"`sources\[0\] v` must have shape .* where M=4, got"),
    (Q, [(T(2, 4, 4, 8), T(2, 4, 4, 8))], None, ValueError, r"`sources\[0\] k` must have shape .* where H=3"),
    (Q, [(T(2, 3, 4, 9), T(2, 3, 4, 9))], None, ValueError, r"`sources\[0\] k` must have shape .* where D=8"),
    (Q, [(K, K), (K[:1], K)], None, ValueError, r"`sources\[1\] v` must have shape .* where Bs=1"),
    (T(3, 3, 5, 8), [(K, K)], None, ValueError, r"batch of `sources\[0\]` must divide that of `q`, got 2 and 3"),
    (Q, [(K[:0], K[:0])], None, ValueError, "must divide that of `q`, got 0 and 2"),
    (Q[:0], [(K, K)], None, ValueError, r"`q` has no batch, so `sources\[0\]` must have none, got 2"),
    (Q, [(K.double(), K.double())], None, TypeError, r"`sources\[0\] k` is torch.float64 but `q` is torch.float32"),
    (Q, [(K, K.bfloat16())], None, TypeError, r"`sources\[0\] v` is torch.bfloat16 but `q` is torch.float32"),
    (Q, [(K.to("meta"), K)], None, ValueError, r"`sources\[0\] k` is on meta but `q` is on cpu"),
    (Q.half(), [(K.half(), K.half())], None, TypeError, "or on CUDA float16, got torch.float16"),
    (Q.int(), [(K.int(), K.int())], None, TypeError, "`q` must be float32, float64 or bfloat16, .* got torch.int32"),
    (T(2, 3, 5, 0), [(T(2, 3, 4, 0),) * 2], None, ValueError, "`q` must have 1 to 256 channels per head, got 0"),
    (T(2, 3, 5, 257), [(T(2, 3, 4, 257),) * 2], None, ValueError, "`q` must have 1 to 256 channels per head, got 257"),
    (Q, [(K, K)], math.nan, ValueError, "`scale` must be finite, got nan"),
    (Q, [(K, K)], math.inf, ValueError, "`scale` must be finite, got inf"),
])
def test_bad_input(q, sources, scale, error, message):
    with pytest.raises(error, match="attention: .*" + message):
        attention(q, sources, scale)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("name", ["q", r"sources\[0\] k", r"sources\[0\] v", r"sources\[1\] k", r"sources\[1\] v"])
def test_values_that_are_not_finite(dtype, value, name):
    q, sources = to(dtype, *case(queries=4, sources=[(2, 4), (1, 4)]))
    names = dict(zip(["q", *(rf"sources\[{i}\] {side}" for i in range(2) for side in "kv")], leaves_of(q, sources)))
    with torch.no_grad():
        names[name][0, 1, 3, 7] = value
    with pytest.raises(RuntimeError, match=rf"attention: `{name}` has a value that is not finite in row \[0, 1, 3\]"):
        attention(q, sources)


@pytest.mark.parametrize("change", [
    dict(keys=[Q[:, :, :, :4]]), dict(values=[]), dict(keys=[], values=[]), dict(values=[K.double()]), dict(q=Q[0]),
    dict(q=Q.transpose(2, 3)), dict(keys=[T(2, 3, 8, 4).transpose(2, 3)]), dict(q=T(3, 3, 5, 8)),
    dict(q=T(2, 3, 5, 257), keys=[T(2, 3, 4, 257)], values=[T(2, 3, 4, 257)]), dict(keys=[K[:, :2]], values=[K[:, :2]]),
])
def test_kernels_guard_their_memory(change):
    """The registered operators can be called without the wrapper."""
    arguments = dict(q=Q, keys=[K], values=[K]) | change
    with pytest.raises(RuntimeError, match="attention: "):
        torch.ops.asset3d.attention(*arguments.values(), 1.0)
    out, log_sum = torch.ops.asset3d.attention(Q, [K], [K], 1.0)
    with pytest.raises(RuntimeError, match="attention: "):
        torch.ops.asset3d.attention_backward(out, *arguments.values(), out, log_sum, 1.0, True, [1])


@pytest.mark.parametrize("change", [dict(out=Q[:, :, :4]), dict(log_sum=T(2, 3, 4)), dict(want=[1, 1]), dict(grad=K)])
def test_the_backward_guards_its_memory(change):
    out, log_sum = torch.ops.asset3d.attention(Q, [K], [K], 1.0)
    a = dict(grad=out, out=out, log_sum=log_sum, want=[1]) | change
    with pytest.raises(RuntimeError, match="attention"):
        torch.ops.asset3d.attention_backward(a["grad"], Q, [K], [K], a["out"], a["log_sum"], 1.0, True, a["want"])


# --- bits ----------------------------------------------------------------------------------------------------------
def all_results(threads, dtype=torch.float32, **shape):
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        return with_gradients(attention, *case(**shape, dtype=dtype))
    finally:
        torch.set_num_threads(before)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float64])
@pytest.mark.parametrize("shape", [
    dict(batch=2, heads=1, queries=301, head_size=64, sources=[(1, 1500), (2, 77)]),
    dict(batch=1, heads=3, queries=100, head_size=40, sources=[(1, 1)]),
], ids=str)
def test_same_bits_for_any_number_of_threads(dtype, shape):
    if dtype == torch.float64:
        shape = shape | dict(queries=30)
    want = all_results(1, dtype, **shape)
    for threads in (2, 3, 7, 16):
        for a, b in zip(all_results(threads, dtype, **shape), want):
            assert torch.equal(a, b)


ISA_PROGRAM = """
import torch
from test_attention import ISA_SHAPE, all_results
torch.save([all_results(2, dtype, **ISA_SHAPE) for dtype in (torch.float32, torch.bfloat16)], {path!r})
"""
ISA_SHAPE = dict(batch=2, queries=75, head_size=40, sources=[(1, 150), (2, 9)])


@pytest.mark.parametrize(
    "variables", [dict(ASSET3D_ISA="baseline"), dict(ASSET3D_ISA="avx2"), dict(ASSET3D_BFLOAT16="0")],
    ids=["baseline", "avx2", "avx512 without bfloat16 products"])
def test_instruction_sets_agree(variables, tmp_path):
    path = tmp_path / "result.pt"
    environment = dict(os.environ, **variables, PYTHONPATH=os.pathsep.join(sys.path))
    subprocess.run([sys.executable, "-c", ISA_PROGRAM.format(path=str(path))], env=environment, check=True)
    for results, dtype, bound in zip(torch.load(path), (torch.float32, torch.bfloat16), (1e-6, 6e-3)):
        want = with_gradients(attention_reference, *to(torch.float64, *case(**ISA_SHAPE, dtype=dtype)))
        assert all(relative(a, b) < bound for a, b in zip(results, want))
