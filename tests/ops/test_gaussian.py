"""Gaussian splatting: values and gradients against the definition, hard cases by hand, promises, refusals."""
import pytest
import torch
from gaussian_scenes import Scene, scene, weighted
from kit import DEVICES, assert_compiles

from asset3d.errors import TooManyIntersections
from asset3d.ops.gaussian import (
    ProjectedGaussians,
    blend_gaussians,
    blend_gaussians_reference,
    project_gaussians,
    project_gaussians_reference,
    rasterize_gaussians,
    rasterize_gaussians_reference,
    spherical_harmonics,
    spherical_harmonics_reference,
)


def background_of(s: Scene, seed=4):
    values = torch.rand(s.colors.shape[-1], generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return values.to(s.means).requires_grad_()


# Values and gradients against the definition


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("switches", [{}, {"antialiased": True}, {"normalize_quats": False, "dilation": 0.1},
                                      {"alpha_max": 0.94, "alpha_min": 0.02, "stop_transmittance": 0.05}])
def test_matches_reference(device, switches):
    s = scene(device=device)
    if "normalize_quats" in switches:
        s = s._replace(quats=0.7 * s.quats)
    got, want = s.leaves(), s.leaves()
    lights = background_of(s), background_of(s)
    ours = rasterize_gaussians(*got, background=lights[0], **switches)
    theirs = rasterize_gaussians_reference(*want, background=lights[1], **switches)
    torch.testing.assert_close(tuple(ours[:3]), tuple(theirs[:3]), rtol=1e-9, atol=1e-9)
    torch.testing.assert_close(tuple(ours.projected), tuple(theirs.projected), rtol=1e-9, atol=1e-9)
    assert 0.05 < ours.alpha.mean() < 0.6 and ours.projected.visible.all()
    grads = torch.autograd.grad(weighted(ours[:3]), [*got[:5], lights[0]])
    wanted = torch.autograd.grad(weighted(theirs[:3]), [*want[:5], lights[1]])
    torch.testing.assert_close(grads, wanted, rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("channels", [0, 1, 3, 4, 5, 17])
def test_single_precision_is_that_of_double(device, channels):
    """The vectorised loops of every number of channels, against float64: relative L2, as errors add up over pixels."""
    s = scene(n=200, device=device, resolution=(45, 70), channels=channels, sigma=0.05)
    got, want = Scene(*(t.float() for t in s[:7]), s.resolution).leaves(), s.leaves()
    ours, theirs = rasterize_gaussians(*got), rasterize_gaussians(*want)
    assert theirs.alpha.mean() > 0.2
    for a, b in zip(ours[:3], theirs[:3]):
        assert torch.linalg.norm(a.double() - b) <= 1e-5 * torch.linalg.norm(b)
    grads = torch.autograd.grad(weighted(ours[:3]), got[:5])
    wanted = torch.autograd.grad(weighted(theirs[:3]), want[:5])
    for a, b in zip(grads, wanted):
        assert torch.linalg.norm(a.double() - b) <= 1e-4 * torch.linalg.norm(b)


@pytest.mark.parametrize("device", DEVICES)
def test_colors_per_camera(device):
    s = scene(device=device).leaves()
    colors = torch.stack([s.colors.detach(), s.colors.detach().square()]).requires_grad_()
    light = background_of(s)
    ours = rasterize_gaussians(*s._replace(colors=colors), background=light)
    theirs = rasterize_gaussians_reference(*s._replace(colors=colors), background=light)
    torch.testing.assert_close(ours.color, theirs.color, rtol=1e-9, atol=1e-9)
    grads = [torch.autograd.grad(weighted(images[:3]), [colors, s.means]) for images in (ours, theirs)]
    torch.testing.assert_close(*grads, rtol=1e-7, atol=1e-9)


def small(n=4, opacity=(0.2, 0.95), sigma=0.2, seed=1):
    return scene(n=n, resolution=(4, 18), views=1, sigma=sigma, opacity=opacity, seed=seed)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("opacity", [0.9, 0.95, 0.99, 0.992, 0.995, 0.999, 0.9999])
def test_gradcheck_of_high_alpha(device, opacity):
    """Where alpha is near 1 what lies behind is divided by next to nothing; peers are 15 to 37 % wrong there."""
    s = scene(n=4, device=device, resolution=(5, 6), views=1, sigma=1.5, opacity=(opacity, opacity))
    with torch.no_grad():  # centres near the axis: alphas near the opacity in all pixels
        s.means.mul_(0.1), s.scales.clamp_(min=4.0)
    light = background_of(s)
    render = lambda m, q, c, o, v, b: rasterize_gaussians(
        m, q, c, o, v, *s[5:], background=b, alpha_max=1 - 1e-5, stop_transmittance=1e-20)[:3]
    leaves = s.leaves()
    assert render(*leaves[:5], light)[1].min() > 0.9
    assert torch.autograd.gradcheck(render, (*leaves[:5], light), atol=1e-6, rtol=1e-4)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("switches", [{}, {"antialiased": True}, {"normalize_quats": False}])
def test_gradcheck(device, switches):
    s = small()
    s = Scene(*(t.to(device) for t in s[:7]), s.resolution)
    light = background_of(s)
    render = lambda m, q, c, o, v, b: rasterize_gaussians(m, q, c, o, v, *s[5:], background=b, **switches)[:3]
    assert torch.autograd.gradcheck(render, (*s.leaves()[:5], light), atol=1e-6, rtol=1e-4)


DEGENERATE = {
    "needle": [2.0, 1e-4, 1e-4], "flat": [0.3, 0.3, 0.0], "point": [0.0, 0.0, 0.0], "line": [0.5, 0.0, 0.0],
    "long needle": [50.0, 1e-6, 1e-6], "negative scale": [0.2, -0.1, 0.1], "wide": [30.0, 30.0, 30.0],
}


@pytest.mark.parametrize("scales", DEGENERATE.values(), ids=DEGENERATE)
def test_degenerate_shapes(scales):
    s = small()
    s = s._replace(scales=torch.tensor(scales, dtype=torch.float64).expand(4, 3).clone())
    got, want = s.leaves(), s.leaves()
    ours, theirs = rasterize_gaussians(*got), rasterize_gaussians_reference(*want)
    assert ours.alpha.max() > 0.1
    torch.testing.assert_close(tuple(ours[:3]), tuple(theirs[:3]), rtol=1e-7, atol=1e-7)
    grads = torch.autograd.grad(weighted(ours[:3]), got[:5])
    assert all(grad.isfinite().all() for grad in grads)
    single = Scene(*(t.float() for t in s[:7]), s.resolution)
    color = rasterize_gaussians(*single).color
    assert (color.double() - ours.color).abs().max() < 1e-5 * max(1.0, ours.color.abs().max().item())
    render = lambda m, q, c, o, v: rasterize_gaussians(m, q, c, o, v, *s[5:])[:3]
    assert torch.autograd.gradcheck(render, s.leaves()[:5], atol=1e-5, rtol=1e-3, eps=1e-7)


@pytest.mark.parametrize("seed", range(8))
def test_permutation_changes_nothing(seed):
    s = scene(n=60, seed=seed)
    order = torch.randperm(60, generator=torch.Generator().manual_seed(seed))
    got, want = s.reordered(order).leaves(), s.leaves()
    ours, theirs = rasterize_gaussians(*got), rasterize_gaussians(*want)
    torch.testing.assert_close(tuple(ours[:3]), tuple(theirs[:3]), rtol=1e-12, atol=1e-12)
    grads = torch.autograd.grad(weighted(ours[:3]), got[:5])
    wanted = torch.autograd.grad(weighted(theirs[:3]), want[:5])
    torch.testing.assert_close(grads, tuple(grad[order] for grad in wanted), rtol=1e-10, atol=1e-10)


def test_same_bits_for_any_number_of_threads():
    s = Scene(*(t.float() for t in scene(n=9000, resolution=(100, 90), sigma=0.02)[:7]), (100, 90))
    before, results = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 2, 3, 5):
            torch.set_num_threads(n_threads)
            leaves = s.leaves()
            light = background_of(s)
            images = rasterize_gaussians(*leaves, background=light)
            grads = torch.autograd.grad(weighted(images[:3]), [*leaves[:5], light])
            results.append((*images[:3], *images.projected, *grads))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


def test_screen_space_gradient():
    """`means_2d` keeps its gradient, in pixels: moving a centre there is moving it in the world."""
    s = scene(views=1).leaves()
    images = rasterize_gaussians(*s)
    images.projected.means_2d.retain_grad()
    weighted(images[:3]).backward()
    grad = images.projected.means_2d.grad
    assert grad.shape == (1, 40, 2) and (grad.abs().sum(-1) > 0).all()
    moved = images.projected.means_2d.detach().clone()
    moved[0, 7, 0] += 1e-5
    again = blend_gaussians(images.projected._replace(means_2d=moved), s.colors, s.resolution)
    slope = (weighted(again) - weighted(images[:3])) / 1e-5
    assert abs(slope - grad[0, 7, 0]) < 1e-3 * abs(slope)


# By hand


def one(conic=(0.5, 0.0, 0.5), opacity=0.8, depth=2.0, at=(8.5, 4.5), color=(1.0, 0.5, 0.0), dtype=torch.float64):
    values = [[at]], [[conic]], [[depth]], [[opacity]], [[(20.0, 20.0)]]
    tensors = (torch.tensor(value, dtype=dtype) for value in values)
    return ProjectedGaussians(*tensors), torch.tensor([color], dtype=dtype)


def test_one_gaussian_by_hand():
    projected, colors = one()
    background = torch.tensor([0.0, 0.0, 1.0], dtype=torch.float64)
    color, alpha, depth = blend_gaussians(projected, colors, (9, 20), background=background)
    weight = 0.8 * torch.exp(torch.tensor(-0.5 * 0.5 * 4, dtype=torch.float64))  # two columns away
    torch.testing.assert_close(color[0, 4, 10], torch.stack([weight, 0.5 * weight, 1 - weight]))
    assert alpha[0, 4, 8, 0] == pytest.approx(0.8) and depth[0, 4, 10, 0] == pytest.approx(2.0)
    assert alpha[0, 0, 19, 0] == 0 and depth[0, 0, 19, 0] == 0  # below 1/255


def test_pixel_stops_before_the_gaussian_that_would_cross():
    """0.99 in front leaves 1e-2, the second would leave 1e-4: it is left out, and all behind it."""
    projected, colors = one(opacity=1.0)
    three = ProjectedGaussians(*(torch.cat([t] * 3, 1) for t in projected))
    three = three._replace(depths=torch.tensor([[3.0, 1.0, 2.0]], dtype=torch.float64))
    color, alpha, _ = blend_gaussians(three, torch.eye(3, dtype=torch.float64), (9, 20), stop_transmittance=1.01e-4)
    torch.testing.assert_close(color[0, 4, 8], torch.tensor([0.0, 0.99, 0.0], dtype=torch.float64))
    color, alpha, _ = blend_gaussians(three, torch.eye(3, dtype=torch.float64), (9, 20), stop_transmittance=1e-5)
    torch.testing.assert_close(color[0, 4, 8], torch.tensor([0.0, 0.99, 0.0099], dtype=torch.float64))
    assert alpha[0, 4, 8, 0] == pytest.approx(1 - 1e-4)


def test_camera_conventions():
    """A point is where Camera.project says, at that depth."""
    s = scene(sigma=0.01)
    from asset3d.scene.camera import orbit

    camera = orbit([10.0, 120.0], [20.0, -10.0], 2.6, 30.0, 23, 37)
    pixels, depth = camera.project(s.means.float())
    projected = project_gaussians(*s[:4], *s[5:])
    torch.testing.assert_close(projected.means_2d.float(), pixels, rtol=1e-4, atol=1e-3)
    torch.testing.assert_close(projected.depths.float(), depth, rtol=1e-5, atol=1e-5)


def test_nothing_is_cut_at_tile_borders():
    """Tiles are chosen by the exact ellipse: every pixel where alpha reaches 1/255 is drawn, for needles too."""
    generator = torch.Generator().manual_seed(0)
    for case in range(40):
        angle, long, short = (torch.rand(3, generator=generator, dtype=torch.float64)
                              * torch.tensor([3.2, 60.0, 4.0]) + torch.tensor([0, 0.5, 0.5]))
        turn = torch.tensor([[angle.cos(), -angle.sin()], [angle.sin(), angle.cos()]])
        conic = turn @ torch.diag(torch.stack([long, short]) ** -2.0) @ turn.T
        at = torch.rand(2, generator=generator, dtype=torch.float64) * 90 - 10
        projected, colors = one((conic[0, 0], conic[0, 1], conic[1, 1]), 0.7, at=at.tolist())
        got, want = (fn(projected, colors, (70, 75)) for fn in (blend_gaussians, blend_gaussians_reference))
        torch.testing.assert_close(got, want, rtol=1e-9, atol=1e-9)
        single = ProjectedGaussians(*(t.float() for t in projected))
        close = (blend_gaussians(single, colors.float(), (70, 75))[1].double() - got[1]).abs()
        assert (close > 1e-5).sum() <= 3 and close.max() < 1.01 / 255  # at the rim a rounding decides


def test_spherical_harmonics():
    """Orthonormal on the sphere, and the sign of the first band is that of published splats."""
    n = 20000
    i = torch.arange(n, dtype=torch.float64) + 0.5
    z, a = 1 - 2 * i / n, i * (torch.pi * (1 + 5**0.5))
    directions = torch.stack([(1 - z * z).sqrt() * a.cos(), (1 - z * z).sqrt() * a.sin(), z], -1)
    unit = torch.eye(16, dtype=torch.float64)[:, :, None].expand(16, 16, 3)
    basis = torch.stack([spherical_harmonics(c[None].expand(n, 16, 3) * 0.1, directions, 3)[0, :, 0] for c in unit], -1)
    basis = (basis - 0.5) / 0.1
    gram = basis.T @ basis * (4 * torch.pi / n)
    torch.testing.assert_close(gram, torch.eye(16, dtype=torch.float64), rtol=0, atol=1e-3)
    up = spherical_harmonics(unit[2:3] * 0.1, torch.tensor([[0.0, 0.0, 1.0]], dtype=torch.float64), 1)
    right = spherical_harmonics(unit[3:4] * 0.1, torch.tensor([[1.0, 0.0, 0.0]], dtype=torch.float64), 1)
    assert up[0, 0, 0] == pytest.approx(0.548860) and right[0, 0, 0] == pytest.approx(0.451140)
    assert (spherical_harmonics(-4 * unit[:1], directions[:1], 0) == 0).all()


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("degree", [0, 1, 2, 3])
def test_spherical_harmonics_match_reference(device, degree):
    generator = torch.Generator().manual_seed(degree)
    coefficients = torch.randn(7, 16, 3, generator=generator, dtype=torch.float64).to(device).requires_grad_()
    directions = torch.randn(2, 7, 3, generator=generator, dtype=torch.float64).to(device)
    directions = torch.nn.functional.normalize(directions, dim=-1).requires_grad_()
    ours = spherical_harmonics(coefficients, directions, degree)
    torch.testing.assert_close(ours, spherical_harmonics_reference(coefficients, directions, degree))
    assert (ours == 0).any() and (ours > 0).any()
    call = lambda c, d: spherical_harmonics(c, d, degree)
    assert torch.autograd.gradcheck(call, (coefficients, directions))
    torch.library.opcheck(torch.ops.asset3d.spherical_harmonics.default, (coefficients, directions, degree))
    single = spherical_harmonics(coefficients.float(), directions.float(), degree)
    torch.testing.assert_close(single.double(), ours, rtol=1e-5, atol=1e-5)


def test_spherical_harmonics_seen_from_cameras():
    s = scene(views=2)
    coefficients = torch.randn(40, 9, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64) * 0.2
    s = s._replace(colors=coefficients).leaves()
    ours = rasterize_gaussians(*s, sh_degree=2)
    theirs = rasterize_gaussians_reference(*s, sh_degree=2)
    torch.testing.assert_close(ours.color, theirs.color, rtol=1e-9, atol=1e-9)
    assert (ours.color[0] - ours.color[1]).abs().max() > 0.1
    grads = [torch.autograd.grad(weighted(images[:3]), [s.means, s.colors]) for images in (ours, theirs)]
    torch.testing.assert_close(*grads, rtol=1e-7, atol=1e-9)


# Gaussians that are not drawn

ABSURD = {
    "nan mean": ("means", float("nan")), "infinite mean": ("means", float("inf")), "huge mean": ("means", 1e38),
    "nan quat": ("quats", float("nan")), "zero quat": ("quats", 0.0), "infinite quat": ("quats", float("inf")),
    "nan scale": ("scales", float("nan")), "infinite scale": ("scales", float("inf")), "huge scale": ("scales", 1e30),
    "nan opacity": ("opacities", float("nan")), "infinite opacity": ("opacities", float("inf")),
    "negative opacity": ("opacities", -1.0), "tiny opacity": ("opacities", 1e-3),
}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("field, value", ABSURD.values(), ids=ABSURD)
def test_absurd_gaussians_are_culled_and_counted(device, dtype, field, value):
    s = scene(device=device, dtype=dtype)
    getattr(s, field)[11] = value
    keep = torch.arange(40, device=device) != 11
    got, want = s.leaves(), s.reordered(keep).leaves()
    ours, theirs = rasterize_gaussians(*got), rasterize_gaussians(*want)
    for a, b in zip(ours[:3], theirs[:3]):
        assert torch.equal(a, b)
    assert ours.projected.n_culled.tolist() == [1, 1]
    faint = field == "opacities" and value in (-1.0, 1e-3)
    if value != 1e38:  # in front of one camera and behind the other
        assert ours.projected.n_absurd.tolist() == ([0, 0] if faint else [1, 1])
    grads = torch.autograd.grad(weighted(ours[:3]), got[:5])
    wanted = torch.autograd.grad(weighted(theirs[:3]), want[:5])
    for a, b in zip(grads, wanted):
        assert torch.equal(a[keep], b) and (a[11] == 0).all()


@pytest.mark.parametrize("field, value", [
    ("means_2d", float("nan")), ("means_2d", 1e30), ("conics", float("inf")), ("conics", -1.0), ("conics", 0.0),
    ("conics", 1e-38), ("depths", float("nan")), ("depths", -1.0), ("opacities", float("nan")), ("opacities", 1e30),
    ("radii", -1.0), ("radii", float("nan"))])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_projected_values_are_safe(field, value, dtype):
    s = scene(dtype=dtype)
    projected = project_gaussians(*s[:4], *s[5:])
    projected = ProjectedGaussians(*(t.clone() for t in projected))
    getattr(projected, field)[:, 5] = value
    leaves = ProjectedGaussians(*(t.requires_grad_() for t in projected[:4]), projected.radii)
    images = blend_gaussians(leaves, s.colors, s.resolution)
    assert all(image.isfinite().all() for image in images)
    assert all(grad.isfinite().all() for grad in torch.autograd.grad(weighted(images), leaves[:4]))


@pytest.mark.parametrize("degree", [0, 1, 3])
@pytest.mark.parametrize("field, value", ABSURD.values(), ids=ABSURD)
def test_absurd_gaussians_with_harmonics_have_no_gradient(degree, field, value):
    s = scene(dtype=torch.float32)._replace(colors=torch.rand(40, 16, 3))
    getattr(s, field)[11] = value
    leaves = s.leaves()
    images = rasterize_gaussians(*leaves, sh_degree=degree)
    grads = torch.autograd.grad(weighted(images[:3]), leaves[:5])
    assert all(grad.isfinite().all() and (grad[11] == 0).all() for grad in grads)
    assert all(grad[:11].abs().max() > 0 for grad in grads)


def test_harmonics_that_are_not_finite_are_refused():
    s = scene()._replace(colors=torch.zeros(40, 4, 3, dtype=torch.float64))
    s.colors[3, 0, 0] = torch.nan
    with pytest.raises(RuntimeError, match="`colors` has a value that is not finite at flat index 9"):
        rasterize_gaussians(*s, sh_degree=1)


def test_many_channels_are_blended_in_groups():
    s = scene(channels=300).leaves()
    light = background_of(s)
    ours, theirs = (render(*s, background=light) for render in (rasterize_gaussians, rasterize_gaussians_reference))
    torch.testing.assert_close(tuple(ours[:3]), tuple(theirs[:3]), rtol=1e-9, atol=1e-9)
    grads = [torch.autograd.grad(weighted(images[:3]), [*s[:5], light]) for images in (ours, theirs)]
    torch.testing.assert_close(*grads, rtol=1e-6, atol=1e-9)


def test_culling_by_place():
    s = scene(n=4, views=1)
    camera_to_world = torch.linalg.inv(s.world_to_camera[0])
    place = torch.tensor([[0, 0, -2.6, 1], [0, 0, 2.0, 1], [50, 0, -2.6, 1], [0, 0, -0.005, 1]], dtype=torch.float64)
    s = s._replace(means=(place @ camera_to_world.T)[:, :3].contiguous())
    projected = project_gaussians(*s[:4], *s[5:])
    assert projected.visible.tolist() == [[True, False, False, False]] and projected.n_culled.tolist() == [3]
    assert projected.n_absurd.tolist() == [0] and (projected.conics[0, 1:] == 0).all()


def test_too_many_intersections():
    s = scene(n=300, resolution=(64, 64), sigma=1.0)
    message = (r"intersections of Gaussians and tiles exceed `max_intersections` = 100 \(they take about \d+ bytes.*"
               r"the largest is Gaussian \d+ of image [01] with \d+ tiles")
    with pytest.raises(TooManyIntersections, match=message) as caught:
        rasterize_gaussians(*s, max_intersections=100)
    exact = caught.value.count
    assert caught.value.limit == 100 and caught.value.n_bytes == 8 * exact and exact > 1000
    rasterize_gaussians(*s, max_intersections=exact)
    with pytest.raises(TooManyIntersections):
        rasterize_gaussians(*s, max_intersections=exact - 1)


# Promises


def project_arguments(s, switches=(0.01, 1e10, 0.3, 1 / 255, True, True)):
    return (*s[:4], *s[5:7], *s.resolution, *switches)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("n", [0, 1, 5])
def test_opcheck(device, n):
    s = scene(n=n, device=device, dtype=torch.float32).leaves()
    torch.library.opcheck(torch.ops.asset3d.gaussian_project.default, project_arguments(s))
    projected = ProjectedGaussians(*(t.detach().requires_grad_() for t in project_gaussians(*s[:4], *s[5:])))
    radii = projected.radii.detach()
    splats = projected.means_2d, projected.conics, projected.opacities, projected.depths
    constants = tuple(t.detach() for t in splats)
    torch.library.opcheck(torch.ops.asset3d.gaussian_tiles.default, (*constants, radii, *s.resolution, 1 / 255, 10**6))
    lists = torch.ops.asset3d.gaussian_tiles(*constants, radii, *s.resolution, 1 / 255, 10**6)
    for light in (None, background_of(s)):
        torch.library.opcheck(torch.ops.asset3d.gaussian_blend.default,
                              (*splats, s.colors, light, radii, *lists, *s.resolution, 0.99, 1 / 255, 1e-4, True))


def test_compiles_without_graph_break():
    s = scene(dtype=torch.float32).leaves()

    def render(means, quats, scales, opacities, colors):
        images = rasterize_gaussians(means, quats, scales, opacities, colors, *s[5:])
        return images.color.square().sum() + images.alpha.sum() + images.depth.sum()

    assert_compiles(render, *s[:5])


@pytest.mark.parametrize("channels", [3, 4, 6])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_images_without_gradients_are_the_same(channels, dtype):
    s = scene(dtype=dtype, channels=channels)
    kept, plain = rasterize_gaussians(*s.leaves()), rasterize_gaussians(*s)
    for a, b in zip(kept[:3], plain[:3]):
        assert torch.equal(a, b) and a.requires_grad and not b.requires_grad


@pytest.mark.parametrize("device", DEVICES)
def test_empty(device):
    s = scene(n=0, device=device).leaves()
    light = background_of(s)
    images = rasterize_gaussians(*s, background=light)
    assert torch.equal(images.color, light.expand(2, 23, 37, 3))
    assert (images.alpha == 0).all() and (images.depth == 0).all()
    (grad,) = torch.autograd.grad(images.color.sum(), light)
    assert grad.tolist() == [2 * 23 * 37] * 3
    none = s._replace(world_to_camera=s.world_to_camera[:0], intrinsics=s.intrinsics[:0])
    assert rasterize_gaussians(*none).color.shape == (0, 23, 37, 3)


def test_second_derivatives_are_refused():
    s = scene().leaves()
    (grad,) = torch.autograd.grad(rasterize_gaussians(*s).color.sum(), s.opacities, create_graph=True)
    with pytest.raises(NotImplementedError, match="has no second derivative"):
        grad.sum().backward()


def test_projection_reference_agrees_where_nothing_is_drawn():
    s = scene(n=400, sigma=2.0, dtype=torch.float64)
    s = s._replace(means=s.means * 8)
    got, want = project_gaussians(*s[:4], *s[5:]), project_gaussians_reference(*s[:4], *s[5:])
    torch.testing.assert_close(tuple(got), tuple(want), rtol=1e-7, atol=1e-7)
    assert 50 < got.n_culled.sum() < 700


# Refusals


@pytest.mark.parametrize("change, error, message", [
    ({"means": torch.zeros(40, 2)}, ValueError, r"`means` must have shape \(N, 3\), got \(40, 2\)"),
    ({"quats": torch.zeros(39, 4).double()}, ValueError, r"`quats` must have shape \(N, 4\) where N=40, got \(39, 4\)"),
    ({"scales": torch.zeros(40, 3).float()}, TypeError, "`scales` is torch.float32 but `means` is torch.float64"),
    ({"opacities": torch.zeros(40, 1).double()}, ValueError, r"`opacities` must have shape \(N\), got \(40, 1\)"),
    ({"colors": torch.zeros(3, 40, 3).double()}, ValueError, r"`colors` must have shape \(B, N, C\) where B=2"),
    ({"world_to_camera": torch.zeros(1, 4, 4).double()}, ValueError,
     r"`intrinsics` must have shape \(B, 4\) where B=1"),
    ({"world_to_camera": torch.full((2, 4, 4), torch.nan).double()}, RuntimeError,
     "`world_to_camera` has a value that is not finite"),
    ({"intrinsics": torch.full((2, 4), torch.inf).double()}, RuntimeError,
     "`intrinsics` has a value that is not finite"),
    ({"colors": torch.full((40, 3), torch.nan).double()}, RuntimeError, "`colors` has a value that is not finite"),
    ({"resolution": (0, 5)}, ValueError, r"`resolution` must be rows and columns in 1..2\^20, got \(0, 5\)"),
    ({"background": torch.zeros(4).double()}, ValueError, r"`background` must have shape \(C\) where C=3"),
    ({"near": 0.0}, ValueError, "need 0 < near < far"),
    ({"dilation": -1.0}, ValueError, "`dilation` must be finite and >= 0"),
    ({"intrinsics": torch.tensor([[64.0, -64, 16, 16]] * 2).double()}, RuntimeError,
     "`intrinsics` of camera 0 need fx > 0 and fy > 0, got 64.000000 and -64.000000"),
    ({"world_to_camera": scene().world_to_camera.transpose(1, 2)}, RuntimeError,
     "the last row of `world_to_camera` of camera 0 must be 0 0 0 1, got .*; is the matrix transposed?"),
    ({"alpha_max": 1.0}, ValueError, "need alpha_min < alpha_max < 1"),
    ({"alpha_max": 0.99995}, ValueError, "must leave more light than `stop_transmittance`: lower it below 0.9999, got"),
    ({"resolution": (64.0, 64)}, TypeError, "`resolution` must be a whole number, got 64.0"),
    ({"resolution": 64}, ValueError, "`resolution` must be rows and columns, got 64"),
    ({"max_intersections": 1e6}, TypeError, "`max_intersections` must be a whole number, got 1000000.0"),
    ({"max_intersections": 2**40}, ValueError, r"`max_intersections` must be in 0..2\^31 - 1"),
    ({"sh_degree": 1.0, "colors": torch.zeros(40, 4, 3).double()}, TypeError, "`degree` must be a whole number"),
    ({"alpha_min": 0.0}, ValueError, r"`alpha_min` must be in \[1e-5, 1\), got 0.0"),
    ({"stop_transmittance": 0.0}, ValueError, "`stop_transmittance` must be between 0 and 1"),
    ({"max_intersections": -1}, ValueError, r"`max_intersections` must be in 0..2\^31 - 1, got -1"),
    ({"sh_degree": 4, "colors": torch.zeros(40, 25, 3).double()}, ValueError, r"`degree` must be in 0..3, got 4"),
    ({"sh_degree": 2, "colors": torch.zeros(40, 4, 3).double()}, ValueError, "degree 2 takes 9 `coefficients`"),
    ({"world_to_camera": torch.eye(4).double().repeat(2, 1, 1).requires_grad_()}, NotImplementedError,
     "cameras have no gradient"),
])
def test_refuses(change, error, message):
    with pytest.raises(error, match="(project_gaussians|blend_gaussians|spherical_harmonics): .*" + message):
        rasterize_gaussians(**{**scene()._asdict(), **change})
