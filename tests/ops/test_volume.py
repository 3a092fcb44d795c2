"""Rays through a box, through a grid of occupied cells, and the light along them."""
import pytest
import torch
from kit import DEVICES, assert_emulated_equals_cpu

from asset3d.ops.volume import (
    composite_rays,
    composite_rays_reference,
    march_rays,
    march_rays_reference,
    ray_box,
    ray_box_reference,
)

LOWER, UPPER = [-0.5, -0.5, -0.5], [0.5, 0.4, 0.6]


def rays(device="cpu", dtype=torch.float64, n=37, seed=0):
    """Rays from outside and inside, toward points around the box; some parallel to axes, one of no direction."""
    generator = torch.Generator().manual_seed(seed)
    origins = torch.randn(n, 3, generator=generator, dtype=dtype)
    targets = torch.rand(n, 3, generator=generator, dtype=dtype) * 1.4 - 0.7
    directions = targets - origins
    if n > 8:
        directions[1] = torch.tensor([0.0, 0.0, 1.0])
        origins[1] = torch.tensor([0.1, 0.2, -2.0])
        directions[2] = torch.tensor([0.0, -2.0, 0.0])  # starts inside
        origins[2] = torch.tensor([0.1, 0.2, 0.3])
        directions[3], origins[3] = torch.tensor([0.0, 1.0, 0.0]), torch.tensor([0.5, -1.0, 0.0])  # along a face
        directions[4] = 0.0
        directions[5] = -directions[5]  # away from the box, or out of it
    return origins.to(device), directions.to(device)


def grid(device="cpu", shape=(5, 7, 6), share=0.3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    return (torch.rand(shape, generator=generator) < share).to(device)


def offsets_of(origins, seed=2):
    generator = torch.Generator().manual_seed(seed)
    return torch.rand(len(origins), generator=generator, dtype=origins.dtype).to(origins.device)


def packed(device="cpu", dtype=torch.float64, counts=(3, 0, 1, 40, 33, 0, 64, 7), channels=4, seed=3):
    """Samples of rays of many lengths, with alpha of exactly 0 and 1 among them."""
    generator = torch.Generator().manual_seed(seed)
    first = torch.tensor([0, *counts]).cumsum(0)
    alpha = torch.rand(int(first[-1]), generator=generator, dtype=dtype) * 0.5
    if len(alpha) > 60:
        alpha[5], alpha[20], alpha[41], alpha[60] = 0.0, 1.0, 1.0, 0.9999
    values = torch.randn(int(first[-1]), channels, generator=generator, dtype=dtype)
    return alpha.to(device).requires_grad_(), values.to(device).requires_grad_(), first.to(device)


# ray_box


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_ray_box_matches_reference(device, dtype):
    origins, directions = rays(device, dtype)
    got, want = ray_box(origins, directions, LOWER, UPPER), ray_box_reference(origins, directions, LOWER, UPPER)
    torch.testing.assert_close(got, want)
    assert 5 < (got[0] > got[1]).sum() < 30  # hits and misses are both there


def test_ray_box_by_hand():
    origins = torch.tensor([[0.0, 0, 3], [0, 0, 0], [0, 2, 3], [0, 0, 3]])
    directions = torch.tensor([[0.0, 0, -2], [1, 0, 0], [0, 0, -1], [0, 0, 1]])
    t_near, t_far = ray_box(origins, directions, [-1, -1, -1], [1, 1, 1])
    assert t_near.tolist() == [1, 0, 0, 0] and t_far.tolist() == [2, 1, -1, -1]


@pytest.mark.parametrize("device", DEVICES)
def test_ray_box_gradient(device):
    origins, directions = rays(device)
    moving = (directions != 0).any(1) & (directions != 0).all(1)  # a parallel ray has a one-sided derivative
    box = [torch.tensor(corner, dtype=torch.float64, device=device, requires_grad=True) for corner in (LOWER, UPPER)]
    inputs = origins[moving].requires_grad_(), directions[moving].requires_grad_(), *box
    assert torch.autograd.gradcheck(ray_box, inputs)


# march_rays


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("share", [0.0, 0.05, 0.3, 1.0])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_march_matches_reference(device, share, dtype):
    origins, directions = rays(device, dtype, n=200)
    args = (origins, directions, grid(device, share=share), LOWER, UPPER, 0.013, offsets_of(origins))
    got, want = march_rays(*args), march_rays_reference(*args)
    if device == "cuda":  # fused multiply-adds move a sample that lies on a cell face
        assert abs(len(got.t) - len(want.t)) <= 2 + 1e-3 * len(want.t)
        return
    for a, b in zip(got, want):
        assert torch.equal(a, b)
    assert (len(got.t) == 0) == (share == 0.0)


def test_march_fine_grid_and_coarse_step():
    """Jumps over empty cells lose nothing when a step is longer than a cell, or far shorter."""
    origins, directions = rays(n=100, dtype=torch.float32)
    occupancy = grid(shape=(40, 33, 65), share=0.02)
    for step in (0.1, 0.001):
        args = (origins, directions, occupancy, LOWER, UPPER, step, offsets_of(origins))
        for a, b in zip(march_rays(*args), march_rays_reference(*args)):
            assert torch.equal(a, b)


def test_march_by_hand():
    occupancy = torch.tensor([True, False, True, True]).reshape(4, 1, 1)
    origins, directions = torch.tensor([[-1.0, 0.5, 0.5]]), torch.tensor([[1.0, 0, 0]])
    samples = march_rays(origins, directions, occupancy, [0, 0, 0], [4, 1, 1], 0.5)
    assert samples.t.tolist() == [1.25, 1.75, 3.25, 3.75, 4.25, 4.75]
    assert samples.t_start.tolist() == [1.0, 1.5, 3.0, 3.5, 4.0, 4.5]
    assert samples.ray.tolist() == [0] * 6 and samples.first.tolist() == [0, 6]
    nearest = march_rays(origins, directions, occupancy, [0, 0, 0], [4, 1, 1], 0.5, max_samples=3)
    assert nearest.t.tolist() == [1.25, 1.75, 3.25]


def test_offsets_sample_every_point_alike():
    """The mean over offsets of a Riemann sum is the integral: no part of the ray is skipped."""
    n = 4000
    origins = torch.tensor([[-1.0, 0.5, 0.5]], dtype=torch.float64).expand(n, 3)
    directions = torch.tensor([[1.0, 0, 0]], dtype=torch.float64).expand(n, 3)
    offsets = (torch.arange(n, dtype=torch.float64) + 0.5) / n
    samples = march_rays(origins, directions, torch.ones(1, 1, 1, dtype=torch.bool), [0] * 3, [1] * 3, 0.3, offsets)
    integral = ((samples.t - 1) ** 2 * 0.3).sum() / n
    assert abs(integral - 1 / 3) < 0.3 / n  # one offset more or less at the end of the ray


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n", [0, 1, 5])
def test_march_opcheck(device, n):
    origins, directions = rays(device, torch.float32, n=n)
    box = [torch.tensor(corner, device=device) for corner in (LOWER, UPPER)]
    args = (origins, directions, grid(device), *box, offsets_of(origins), 0.05, 100)
    torch.library.opcheck(torch.ops.asset3d.march_rays.default, args)
    torch.library.opcheck(torch.ops.asset3d.ray_box.default, (origins, directions, *box))


# composite_rays


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("channels", [0, 1, 3, 17])
def test_composite_matches_reference(device, channels):
    args = packed(device, channels=channels)
    torch.testing.assert_close(composite_rays(*args), composite_rays_reference(*args))
    alpha, values, first = args
    single = composite_rays(alpha.float(), values.float(), first)
    for got, want in zip(single, composite_rays(*args)):
        torch.testing.assert_close(got, want.float(), rtol=1e-5, atol=1e-5)


def test_composite_by_hand():
    alpha = torch.tensor([0.5, 0.5, 1.0, 0.7])
    values = torch.tensor([[1.0], [2.0], [4.0], [100.0]])
    accumulated, opacity, weights = composite_rays(alpha, values, torch.tensor([0, 0, 4]))
    assert weights.tolist() == [0.5, 0.25, 0.25, 0.0]
    assert accumulated.tolist() == [[0.0], [2.0]] and opacity.tolist() == [0.0, 1.0]


@pytest.mark.parametrize("device", DEVICES)
def test_composite_gradient(device):
    alpha, values, first = packed(device, counts=(3, 0, 1, 9, 35), channels=2)
    with torch.no_grad():
        alpha[5], alpha[8], alpha[20] = 0.0, 1.0, 1.0
    assert torch.autograd.gradcheck(lambda a, v: composite_rays(a, v, first), (alpha, values))


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("counts", [(), (0,), (1,), (5, 0, 2)])
def test_composite_opcheck(device, counts):
    torch.library.opcheck(torch.ops.asset3d.composite_rays.default, packed(device, torch.float32, counts))


def test_same_bits_again_and_for_any_number_of_threads():
    origins, directions = rays(n=500, dtype=torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 2, 3):
            torch.set_num_threads(n_threads)
            samples = march_rays(origins, directions, grid(share=0.1), LOWER, UPPER, 0.01, offsets_of(origins))
            alpha = torch.linspace(0, 0.3, len(samples.t), requires_grad=True)
            accumulated, opacity, weights = composite_rays(alpha, samples.t[:, None], samples.first)
            (grad,) = torch.autograd.grad(accumulated.sum() + opacity.sum() + weights.square().sum(), alpha)
            results.append((*samples, accumulated, opacity, weights, grad))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


def test_empty_batches():
    accumulated, opacity, weights = composite_rays(*packed(counts=()))
    assert accumulated.shape == (0, 4) and opacity.shape == (0,) and weights.shape == (0,)
    samples = march_rays(*rays(n=0), grid(), LOWER, UPPER, 0.1)
    assert samples.t.shape == (0,) and samples.first.tolist() == [0]


def test_compiles_without_graph_break():
    origins, directions = rays(dtype=torch.float32)
    occupancy = grid()

    def render(origins, directions, color):
        t_near, t_far = ray_box(origins, directions, LOWER, UPPER)
        samples = march_rays(origins, directions, occupancy, LOWER, UPPER, 0.02)
        position = origins[samples.ray] + samples.t[:, None] * directions[samples.ray]
        alpha = 1 - torch.exp(-position.square().sum(-1))
        accumulated, opacity, _ = composite_rays(alpha, position * color, samples.first)
        return accumulated.sum() + opacity.sum() + (t_far - t_near).sum()

    compiled = torch.compile(render, fullgraph=True, backend="aot_eager")
    color, again = (torch.tensor([0.2, 0.5, 0.7], requires_grad=True) for _ in range(2))
    want, got = render(origins, directions, color), compiled(origins, directions, again)
    torch.testing.assert_close(got, want)
    want.backward(), got.backward()
    torch.testing.assert_close(again.grad, color.grad)


# The CUDA schedules, run by the emulator in several orders of blocks and threads


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_emulated_rays(dtype):
    origins, directions = rays(n=150, dtype=dtype)
    box = [torch.tensor(corner, dtype=dtype) for corner in (LOWER, UPPER)]
    exact = {"rtol": 0, "atol": 0}
    assert_emulated_equals_cpu("ray_box", origins, directions, *box, **exact)
    grads = torch.rand(2, 150, dtype=dtype, generator=torch.Generator().manual_seed(0))
    assert_emulated_equals_cpu("ray_box_backward", *grads, origins, directions, *box, **exact)
    occupancy = grid(shape=(9, 17, 11), share=0.05)
    assert_emulated_equals_cpu(
        "march_rays", origins, directions, occupancy, *box, offsets_of(origins), 0.02, 50, **exact
    )


@pytest.mark.parametrize("channels", [0, 3])
def test_emulated_compositing(channels):
    alpha, values, first = (tensor.detach() for tensor in packed(channels=channels))
    assert_emulated_equals_cpu("composite_rays", alpha, values, first)
    outputs = torch.ops.asset3d.composite_rays(alpha, values, first)
    generator = torch.Generator().manual_seed(0)
    grads = [torch.rand(output.shape, generator=generator, dtype=output.dtype) for output in outputs]
    assert_emulated_equals_cpu("composite_rays_backward", *grads, alpha, values, first)


# Refusals

ALPHA, VALUES, FIRST = torch.rand(4), torch.rand(4, 2), torch.tensor([0, 1, 4])


@pytest.mark.parametrize("alpha, values, first, error, message", [
    (ALPHA[:3], VALUES, FIRST, ValueError, r"`values` must have shape \(S, C\) where S=3, got \(4, 2\)"),
    (ALPHA, VALUES.double(), FIRST, TypeError, "`values` is torch.float64 but `alpha` is torch.float32"),
    (ALPHA, VALUES, FIRST.int(), TypeError, "`first` must be torch.int64, got torch.int32"),
    (ALPHA, VALUES, FIRST[:0], ValueError, "`first` must have one value more than there are rays"),
    (ALPHA, VALUES, FIRST[:2], RuntimeError, r"`first` must rise from 0 to the number of samples 4, got 0 ... 1"),
    (ALPHA, VALUES, torch.tensor([0, 3, 1, 4]), RuntimeError, ".*or it falls in between"),
    (ALPHA / 0, VALUES, FIRST, RuntimeError, "`alpha` has a value that is not finite at flat index 0: inf"),
])
def test_composite_refuses(alpha, values, first, error, message):
    with pytest.raises(error, match="composite_rays: " + message):
        composite_rays(alpha, values, first)


@pytest.mark.parametrize("change, error, message", [
    ({"step": 0.0}, ValueError, "`step` must be finite and > 0, got 0.0"),
    ({"max_samples": 0}, ValueError, "`max_samples` must be >= 1, got 0"),
    ({"occupancy": torch.ones(2, 2, 2)}, TypeError, "`occupancy` must be torch.bool, got torch.float32"),
    ({"occupancy": torch.ones(2, 2, 0).bool()}, ValueError, "`occupancy` must have at least one cell"),
    ({"directions": torch.ones(3, 3)}, ValueError, r"`directions` must have shape \(R, 3\) where R=2, got \(3, 3\)"),
    ({"offsets": torch.ones(3)}, ValueError, r"`offsets` must have shape \(R\) where R=2"),
    ({"lower": [0.0, 0.0]}, ValueError, r"`lower` must have shape \(3\), got \(2,\)"),
    ({"upper": [0.5, -0.5, 0.5]}, RuntimeError, "`lower` must be below `upper`, got -0.5 and -0.5 on axis 1"),
    ({"origins": torch.full((2, 3), torch.nan)}, RuntimeError,
     "`origins` has a value that is not finite at flat index 0"),
])
def test_march_refuses(change, error, message):
    args = dict(origins=torch.zeros(2, 3), directions=torch.ones(2, 3), occupancy=grid(), lower=LOWER, upper=UPPER,
                step=0.1, offsets=torch.zeros(2), max_samples=9)
    with pytest.raises(error, match="march_rays: " + message):
        march_rays(**{**args, **change})


def test_second_derivatives_are_refused():
    alpha, values, first = packed()
    (grad,) = torch.autograd.grad(composite_rays(alpha, values, first)[0].sum(), alpha, create_graph=True)
    with pytest.raises(NotImplementedError, match="composite_rays has no second derivative"):
        grad.sum().backward()
