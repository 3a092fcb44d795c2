"""Losses: known values, gradients, and refusals."""
import math

import pytest
import torch

from asset3d.loss.depth import Depth, DepthConfig, scale_shift_invariant
from asset3d.loss.eikonal import Eikonal, EikonalConfig
from asset3d.loss.laplacian import Laplacian, LaplacianConfig, uniform_laplacian
from asset3d.loss.mask import Mask, MaskConfig
from asset3d.loss.normal import Normal, NormalConfig
from asset3d.loss.photometric import Photometric, PhotometricConfig
from asset3d.loss.smoothness import Smoothness, SmoothnessConfig
from asset3d.scene.camera import orbit
from asset3d.scene.rendering import Rendering, Target
from asset3d.scene.views import Views


def pair(size=16, seed=0):
    """A rendering and a target of two views that differ everywhere."""
    g = torch.Generator().manual_seed(seed)
    rand = lambda *shape: torch.rand(*shape, generator=g)
    alpha, normal = rand(2, size, size, 1), torch.nn.functional.normalize(rand(2, size, size, 3) - 0.5, dim=-1)
    rendering = Rendering(rand(2, size, size, 3) * alpha, alpha, rand(2, size, size, 1) + 1, normal)
    view = torch.arange(2)[:, None, None].expand(2, size, size)
    target = Target(rand(2, size, size, 3), rand(2, size, size, 1), torch.ones(3), view,
                    depth=rand(2, size, size, 1) + 1, normal=normal.flip(1))
    return rendering, target


def views(count, size=16):
    camera = orbit(torch.arange(count) * 30.0, 0, 2.6, 30, size)
    return Views(camera, torch.zeros(count, size, size, 3), torch.zeros(count, size, size, 1), ("x",) * count)


def test_photometric_compares_in_front_of_the_background():
    rendering, target = pair()
    loss = Photometric(PhotometricConfig(l1=0, l2=1, exposure=False))
    theirs = target.color * target.alpha + 1 - target.alpha
    want = (rendering.color + 1 - rendering.alpha - theirs).square().mean()
    torch.testing.assert_close(loss(rendering, target, 0), want)


def test_photometric_ignores_invalid_pixels():
    rendering, target = pair()
    valid = torch.zeros(2, 16, 16, 1, dtype=torch.bool)
    valid[:, :8] = True
    loss = Photometric(PhotometricConfig(exposure=False))
    part = Target(target.color, target.alpha, target.background, target.view, valid)
    top = Rendering(rendering.color[:, :8], rendering.alpha[:, :8])
    half = Target(target.color[:, :8], target.alpha[:, :8], target.background, target.view[:, :8])
    torch.testing.assert_close(loss(rendering, part, 0), loss(top, half, 0))


def test_exposure_finds_the_brightness_of_each_view():
    g = torch.Generator().manual_seed(0)
    color, alpha = torch.rand(3, 8, 8, 3, generator=g) * 0.6, torch.ones(3, 8, 8, 1)
    gains = torch.tensor([0.8, 1.0, 1.25])
    view = torch.arange(3)[:, None, None].expand(3, 8, 8)
    target = Target(color * gains[:, None, None, None], alpha, torch.zeros(3), view)
    loss = Photometric(PhotometricConfig(l1=0, l2=1))
    loss.begin(views(3, 8))
    optimizer = torch.optim.Adam(loss.parameters(), lr=0.02)
    for step in range(200):
        optimizer.zero_grad()
        loss(Rendering(color, alpha), target, step).backward()
        optimizer.step()
    torch.testing.assert_close(loss.gain().detach(), gains, atol=1e-3, rtol=0)  # as far as 200 steps get


def test_ssim_is_for_images_only():
    loss = Photometric(PhotometricConfig(ssim=1, exposure=False))
    rendering, target = pair()
    assert 0 < float(loss(rendering, target, 0)) < 3
    rays = Rendering(rendering.color.reshape(-1, 3), rendering.alpha.reshape(-1, 1))
    flat = Target(target.color.reshape(-1, 3), target.alpha.reshape(-1, 1), target.background, target.view.reshape(-1))
    with pytest.raises(ValueError, match="ssim needs whole images"):
        loss(rays, flat, 0)


@pytest.mark.parametrize("difference", ["l2", "cross_entropy"])
def test_mask_is_least_where_masks_agree(difference):
    rendering, target = pair()
    loss = Mask(MaskConfig(difference=difference))
    sharp = Target(target.color, (target.alpha > 0.5).float(), target.background, target.view)
    same = Rendering(rendering.color, sharp.alpha)
    assert loss(same, sharp, 0) < 1e-2 < loss(rendering, sharp, 0)


def test_depth_absolute_counts_common_surface_only():
    rendering, target = pair()
    common = (target.alpha > 0.5) & (rendering.alpha > 0.5)
    want = (rendering.depth - target.depth)[common].abs().mean()
    torch.testing.assert_close(Depth(DepthConfig())(rendering, target, 0), want)


def test_invariant_depth_forgives_scale_and_shift_and_nothing_else():
    x = torch.rand(50, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert scale_shift_invariant(3 * x - 2, x) < 1e-12
    assert scale_shift_invariant(x.square(), x) > 1e-4
    torch.autograd.gradcheck(lambda y: scale_shift_invariant(y, x), (x.square().requires_grad_(),))


def test_normal_is_zero_for_equal_and_two_for_opposite():
    rendering, target = pair()
    loss = Normal(NormalConfig())
    for sign, want in ((1, 0.0), (-1, 2.0)):
        same = Target(target.color, target.alpha, target.background, target.view, normal=sign * rendering.normal)
        assert math.isclose(float(loss(rendering, same, 0)), want, abs_tol=1e-5)


def test_eikonal_is_zero_for_unit_gradients():
    loss = Eikonal(EikonalConfig())
    unit = torch.nn.functional.normalize(torch.randn(20, 3, generator=torch.Generator().manual_seed(0)), dim=-1)
    rendering, target = pair()
    for scale, want in ((1.0, 0.0), (3.0, 4.0)):
        given = Rendering(rendering.color, rendering.alpha, extras={"sdf_gradient": unit * scale})
        assert math.isclose(float(loss(given, target, 0)), want, abs_tol=1e-4)
    with pytest.raises(ValueError, match="'eikonal' needs a renderer that gives 'sdf_gradient'"):
        loss(rendering, target, 0)


def test_laplacian_of_a_tetrahedron_and_of_a_flat_fan():
    vertices = torch.tensor([[0., 0, 0], [1, 0, 0], [0, 1, 0], [-1, 0, 0], [0, -1, 0]], dtype=torch.float64)
    faces = torch.tensor([[0, 1, 2], [0, 2, 3], [0, 3, 4], [0, 4, 1]])
    assert uniform_laplacian(vertices, faces)[0].abs().max() < 1e-12  # the middle of its neighbours
    loss = Laplacian(LaplacianConfig())

    def value(v):
        rendering, target = pair(4)
        return loss(Rendering(rendering.color, rendering.alpha, extras={"vertices": v, "faces": faces}), target, 0)

    torch.testing.assert_close(value(vertices), value(vertices * 7))  # in units of an edge
    assert value(vertices + torch.eye(5, 3, dtype=torch.float64)) > 0


def test_smoothness_between_neighbours_counts_a_turn_once():
    """A crease costs as much as the same turn in many small steps; noise far below the rounding costs its square."""
    rendering, target = pair()
    angle = torch.linspace(0, math.pi / 2, 91)
    circle = torch.stack([angle.cos(), angle.sin(), torch.zeros(91)], -1)

    def total(normals, rounding):
        given = Rendering(rendering.color, rendering.alpha,
                          extras={"neighbour_normals": torch.stack([normals[:-1], normals[1:]]),
                                  "neighbour_weights": torch.ones(len(normals) - 1)})
        return float(Smoothness(SmoothnessConfig(rounding=rounding))(given, target, 0)) * (len(normals) - 1)

    chord = 2 * math.sin(math.pi / 4)
    assert math.isclose(total(circle[[0, 90]], 1e-4), chord, rel_tol=1e-3)
    assert math.isclose(total(circle, 1e-4), math.pi / 2, rel_tol=1e-2)  # the arc: chords become angles
    step = 2 * math.sin(math.radians(0.5))
    assert math.isclose(total(circle[:2], 1.0), step**2 / 2, rel_tol=1e-3)


def test_smoothness_weighs_edges_by_their_length():
    rendering, target = pair()
    normals = torch.tensor([[[1.0, 0, 0], [1, 0, 0]], [[1, 0, 0], [0, 1, 0]]])
    loss = Smoothness(SmoothnessConfig(rounding=1e-4))
    values = [float(loss(Rendering(rendering.color, rendering.alpha, extras={
        "neighbour_normals": normals, "neighbour_weights": torch.tensor(weights)}), target, 0))
        for weights in ([1.0, 1.0], [3.0, 1.0], [1.0, 0.0])]
    assert math.isclose(values[0], 2**0.5 / 2, rel_tol=1e-3) and math.isclose(values[1], values[0] / 2, rel_tol=1e-5)
    assert abs(values[2]) < 1e-6


def test_smoothness_is_zero_on_a_plane():
    rendering, target = pair()
    loss = Smoothness(SmoothnessConfig())
    flat = torch.tensor([0.0, 0, 1]).expand(2, 16, 16, 3)
    solid = torch.ones(2, 16, 16, 1)
    assert float(loss(Rendering(rendering.color, solid, normal=flat), target, 0)) == 0
    assert float(loss(Rendering(rendering.color, solid, normal=rendering.normal), target, 0)) > 0.5
    with pytest.raises(ValueError, match="normals: true"):
        loss(Rendering(rendering.color, solid), target, 0)
