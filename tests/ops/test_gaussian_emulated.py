"""Gaussian splatting: the CUDA schedules, run by the emulator in eight orders, against the CPU's."""
import pytest
import torch
from gaussian_scenes import scene
from kit import SEEDS, assert_emulated_equals_cpu, fiber_order

from asset3d.ops.gaussian import project_gaussians

LENS = (0.01, 1e10, 0.3, 1 / 255, True, True)


def projected(s):
    means_2d, conics, depths, opacities, radii = project_gaussians(*s[:4], *s[5:])
    return (means_2d, conics, opacities, depths), radii


def random_like(tensors, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(t.shape, generator=generator, dtype=torch.float64).to(t.dtype) for t in tensors]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_projection(dtype):
    s = scene(n=70, dtype=dtype)
    s.means[3], s.scales[5], s.quats[7] = float("nan"), 1e30, 0.0
    arguments = (*s[:4], *s[5:7], *s.resolution, *LENS)
    # float32 is vectorised on the CPU, with another rounding
    tolerance = {"rtol": 0, "atol": 0} if dtype == torch.float64 else {"rtol": 1e-5, "atol": 1e-5}
    assert_emulated_equals_cpu("gaussian_project", *arguments, **tolerance)
    outputs = torch.ops.asset3d.gaussian_project(*arguments)
    grads = random_like(outputs[:4])
    backward = (*grads, *s[:4], *s[5:7], outputs[4], *s.resolution, *LENS)
    tolerance = {} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-2}  # of sums of up to 1e3
    assert_emulated_equals_cpu("gaussian_project_backward", *backward, **tolerance)


@pytest.mark.parametrize("degree", [0, 3])
def test_harmonics(degree):
    coefficients, directions, grad = random_like([torch.empty(41, 16, 3), torch.empty(3, 41, 3), torch.empty(3, 41, 3)])
    exact = {"rtol": 0, "atol": 0}
    assert_emulated_equals_cpu("spherical_harmonics", coefficients, directions, degree, **exact)
    assert_emulated_equals_cpu("spherical_harmonics_backward", grad, coefficients, directions, degree, **exact)


@pytest.mark.parametrize("n, views", [(0, 2), (1, 1), (90, 3), (40, 0)])
def test_lists_of_tiles(n, views):
    s = scene(n=n, views=views, resolution=(37, 50), sigma=0.2)
    splats, radii = projected(s)
    splats[3][:, 3:9] = splats[3][:, 3:4]  # equal depths: the first stays in front
    assert_emulated_equals_cpu("gaussian_tiles", *splats, radii, *s.resolution, 1 / 255, 10**6, rtol=0, atol=0,
                               equal_nan=True)


def test_budget():
    s = scene(n=50, resolution=(64, 64), sigma=1.0)
    splats, radii = projected(s)
    messages = []
    with fiber_order(0) as ops:
        for library in (ops, torch.ops.asset3d):
            with pytest.raises(RuntimeError, match="intersections of Gaussians and tiles exceed") as caught:
                library.gaussian_tiles(*splats, radii, *s.resolution, 1 / 255, 100)
            messages.append(next(line for line in str(caught.value).splitlines() if "intersections" in line))
    assert messages[0].partition("blend_gaussians")[2] == messages[1].partition("blend_gaussians")[2]


def assert_blending_equals_cpu(s, background, stop=1e-4, seeds=SEEDS, **tolerance):
    splats, radii = projected(s)
    lists = torch.ops.asset3d.gaussian_tiles(*splats, radii, *s.resolution, 1 / 255, 10**6)
    given = (*splats, s.colors, background, radii, *lists)
    look = (*s.resolution, 0.99, 1 / 255, stop)
    want = torch.ops.asset3d.gaussian_blend(*given, *look, True)
    grads = random_like(want[:3])
    wanted = torch.ops.asset3d.gaussian_blend_backward(*grads, *given, *want[1:], *look)
    for seed in seeds:
        with fiber_order(seed) as ops:
            got = ops.gaussian_blend(*given, *look, True)
            torch.testing.assert_close(got[:5], want[:5], **tolerance)
            assert all(torch.equal(a, b) for a, b in zip(ops.gaussian_blend(*given, *look, False)[:3], got))
            found = ops.gaussian_blend_backward(*grads, *given, *got[1:], *look)
            torch.testing.assert_close(found, wanted, **tolerance)
    return want, lists


@pytest.mark.parametrize("channels", [0, 3, 4, 11])
def test_blending(channels):
    s = scene(n=25, resolution=(19, 21), channels=channels)
    background = torch.linspace(0.1, 0.9, channels, dtype=torch.float64)
    assert_blending_equals_cpu(s, background)


@pytest.mark.parametrize("channels", [3, 6])
def test_blending_over_several_chunks(channels):
    """Tiles of more than 256 entries: pixels that stop in the first, the second, and no chunk."""
    s = scene(n=600, resolution=(16, 18), views=1, channels=channels, sigma=0.3, opacity=(0.02, 0.06))
    want, lists = assert_blending_equals_cpu(s, None, stop=0.3)
    assert lists[2].diff().max() > 512
    last = want[4]
    assert (last < 256).any() and ((last > 256) & (last < 512)).any() and (last == lists[2].diff().max()).any()


def test_single_precision():
    """Against the vectorised loops; gradients are sums over pixels of terms of both signs."""
    s = scene(n=60, resolution=(19, 21), dtype=torch.float32)
    assert_blending_equals_cpu(s, torch.rand(3), seeds=SEEDS[:1], rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize("n, views", [(0, 1), (5, 0)])
def test_nothing_to_blend(n, views):
    assert_blending_equals_cpu(scene(n=n, views=views), torch.rand(3, dtype=torch.float64), seeds=SEEDS[:1])


def test_same_bits_in_every_order():
    s = scene(n=60, resolution=(19, 21), dtype=torch.float32)
    splats, radii = projected(s)
    results = []
    for seed in SEEDS:
        with fiber_order(seed) as ops:
            lists = ops.gaussian_tiles(*splats, radii, *s.resolution, 1 / 255, 10**6)
            given, look = (*splats, s.colors, None, radii, *lists), (*s.resolution, 0.99, 1 / 255, 1e-4)
            images = ops.gaussian_blend(*given, *look, True)
            grads = ops.gaussian_blend_backward(*random_like(images[:3]), *given, *images[1:], *look)
            results.append((*images[:5], *grads))
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))
