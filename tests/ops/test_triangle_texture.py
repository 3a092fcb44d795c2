"""Texture look-up: filters, borders, mip-maps, and their derivatives."""
import itertools

import pytest
import torch

from asset3d.ops.triangle import BOUNDARIES, FILTERS, texture, texture_reference

MODES = list(itertools.product(FILTERS, BOUNDARIES))


def inputs(batch=2, texture_batch=2, size=(8, 16), resolution=(6, 7), seed=0, dtype=torch.float64):
    generator = torch.Generator().manual_seed(seed)
    draw = lambda *shape: torch.rand(*shape, generator=generator, dtype=torch.float64)  # noqa: E731
    tex = draw(texture_batch, *size, 3)
    uv = draw(batch, *resolution, 2) * 3 - 1
    uv_da = (draw(batch, *resolution, 4) - 0.5) * 10 ** (draw(batch, *resolution, 1) * 3 - 2)
    return [t.to(dtype).requires_grad_() for t in (tex, uv, uv_da)]


@pytest.mark.parametrize("filter_mode, boundary_mode", MODES)
@pytest.mark.parametrize("texture_batch", [1, 2])
def test_matches_reference(filter_mode, boundary_mode, texture_batch):
    leaves = inputs(texture_batch=texture_batch)
    results = []
    for fn in (texture, texture_reference):
        out = fn(*leaves, filter_mode, boundary_mode)
        weight = torch.randn(out.shape, dtype=out.dtype, generator=torch.Generator().manual_seed(1))
        grads = torch.autograd.grad((out * weight).sum(), leaves, allow_unused=True, materialize_grads=True)
        results.append([out, *grads])
    torch.testing.assert_close(*results)


@pytest.mark.parametrize("filter_mode, boundary_mode", MODES)
def test_gradcheck(filter_mode, boundary_mode):
    leaves = inputs(1, 1, (4, 4), (2, 3))
    torch.autograd.gradcheck(lambda *a: texture(*a, filter_mode, boundary_mode), leaves, eps=1e-7, atol=1e-4)


def test_float32_matches_float64():
    leaves = inputs()
    want = texture(*leaves, "linear-mipmap-linear")
    got = texture(*(t.float() for t in leaves), "linear-mipmap-linear")
    torch.testing.assert_close(got, want.float(), rtol=1e-4, atol=1e-5)


def test_texel_centres_return_the_texels():
    tex = torch.rand(1, 3, 5, 2, generator=torch.Generator().manual_seed(0))
    v, u = torch.meshgrid((torch.arange(3) + 0.5) / 3, (torch.arange(5) + 0.5) / 5, indexing="ij")
    uv = torch.stack([u, v], -1)[None]
    for filter_mode in ("nearest", "linear"):
        torch.testing.assert_close(texture(tex, uv, filter_mode=filter_mode), tex)
        torch.testing.assert_close(texture(tex, uv + 2, filter_mode=filter_mode), tex)


def test_a_footprint_of_two_to_the_k_texels_reads_level_k():
    tex = torch.rand(1, 8, 8, 1, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    uv = torch.full((1, 1, 1, 2), 0.5, dtype=torch.float64)
    for level in range(5):
        footprint = torch.tensor([2.0**level / 8, 0, 0, 0.1 / 8], dtype=torch.float64).expand(1, 1, 1, 4)
        size = 8 >> min(level, 3)
        blocks = tex.reshape(size, 8 // size, size, 8 // size).mean((1, 3))
        middle = blocks[size // 2 - 1 : size // 2 + 1, size // 2 - 1 : size // 2 + 1] if size > 1 else blocks
        for filter_mode in FILTERS[2:]:
            assert texture(tex, uv, footprint, filter_mode).item() == pytest.approx(middle.mean().item())


def test_odd_sizes_end_the_chain():
    tex, uv, uv_da = inputs(size=(12, 6))
    torch.testing.assert_close(texture(tex, uv, uv_da * 100, "linear-mipmap-linear"),
                               texture_reference(tex, uv, uv_da * 100, "linear-mipmap-linear"))
    with pytest.raises(ValueError, match="`max_mip_level` must be between 0 and 1 for this size, got 2"):
        texture(tex, uv, uv_da, "linear-mipmap-linear", max_mip_level=2)


@pytest.mark.parametrize("n", [0, 1, 5])
def test_opcheck(n):
    leaves = inputs(1, 1, (4, 8), (n, 3), dtype=torch.float32)
    ops = torch.ops.asset3d
    torch.library.opcheck(ops.mip_chain.default, (leaves[0], 3))
    mips = ops.mip_chain(leaves[0], 3).detach().requires_grad_()
    torch.library.opcheck(ops.texture.default, (leaves[0], mips, leaves[1], leaves[2], 3, 3, 0))


def test_compiles_without_graph_break():
    leaves = inputs(dtype=torch.float32)
    call = lambda *a: texture(*a, "linear-mipmap-linear").square().sum()  # noqa: E731
    compiled = torch.compile(call, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close([compiled(*leaves), *torch.autograd.grad(compiled(*leaves), leaves)],
                               [call(*leaves), *torch.autograd.grad(call(*leaves), leaves)])


def test_repeats_to_the_bit_on_any_number_of_threads():
    leaves = inputs(resolution=(120, 90), dtype=torch.float32)
    threads, results = torch.get_num_threads(), []
    try:
        for n in (1, 2, 3):
            torch.set_num_threads(n)
            results.append(torch.autograd.grad(texture(*leaves, "linear-mipmap-linear").square().sum(), leaves))
    finally:
        torch.set_num_threads(threads)
    assert all(torch.equal(a, b) for other in results[1:] for a, b in zip(results[0], other))


@pytest.mark.parametrize("seed", range(8))
def test_emulated_equals_cpu(seed):
    module = pytest.importorskip("asset3d._emulated", reason="built without ASSET3D_EMULATE=1")
    module.set_seed(seed)
    emulated, cpu = torch.ops.asset3d_emulated, torch.ops.asset3d
    tex, uv, uv_da = (t.detach() for t in inputs())
    mips = cpu.mip_chain(tex, 4)
    torch.testing.assert_close(emulated.mip_chain(tex, 4), mips)
    grad = torch.randn(mips.shape, dtype=mips.dtype, generator=torch.Generator().manual_seed(seed))
    torch.testing.assert_close(emulated.mip_chain_backward(grad, 8, 16, 4), cpu.mip_chain_backward(grad, 8, 16, 4))
    for filter_mode, boundary in [(0, 0), (1, 1), (2, 0), (3, 2)]:
        args = tex, mips, uv, uv_da, 4, filter_mode, boundary
        out = cpu.texture(*args)
        torch.testing.assert_close(emulated.texture(*args), out)
        torch.testing.assert_close(emulated.texture_backward(out, *args), cpu.texture_backward(out, *args))
    module.set_seed(0)


T, UV = torch.rand(1, 4, 4, 3), torch.rand(1, 2, 2, 2)


@pytest.mark.parametrize("error, message, call", [
    (ValueError, r"texture: `uv` must have shape \(B, H, W, 2\), got \(1, 2, 2, 3\)",
     lambda: texture(T, torch.rand(1, 2, 2, 3))),
    (ValueError, r"texture: `filter_mode` must be one of nearest, linear, .*, got 'cubic'",
     lambda: texture(T, UV, filter_mode="cubic")),
    (ValueError, r"texture: `boundary_mode` must be one of wrap, clamp, zero, got 'mirror'",
     lambda: texture(T, UV, boundary_mode="mirror")),
    (ValueError, r"texture: `filter_mode` 'linear-mipmap-linear' needs `uv_da`",
     lambda: texture(T, UV, filter_mode=FILTERS[3])),
    (ValueError, r"texture: `tex` must have batch 1 or 1, got 2", lambda: texture(T.expand(2, 4, 4, 3), UV)),
    (ValueError, r"texture: `tex` must be 1 to 16384 texels high and wide, got 0 x 4", lambda: texture(T[:, :0], UV)),
    (ValueError, r"texture: `uv` has values that are not finite", lambda: texture(T, UV / 0)),
    (TypeError, r"texture: `uv` is torch.float64 but `tex` is torch.float32", lambda: texture(T, UV.double())),
])
def test_refusals(error, message, call):
    with pytest.raises(error, match=message):
        call()
