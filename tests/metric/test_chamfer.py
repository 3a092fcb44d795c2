"""Surface distances on surfaces whose distances are known."""
import pytest
import torch

from asset3d.metric.base import Comparison, Surface
from asset3d.metric.chamfer import Chamfer, ChamferConfig, compare_surfaces, visible_surface
from asset3d.scene.camera import orbit


def sphere(radius: float, count: int = 20000, seed: int = 0) -> Surface:
    normals = torch.nn.functional.normalize(
        torch.randn(count, 3, generator=torch.Generator().manual_seed(seed)), dim=-1)
    return Surface(radius * normals, normals)


def test_concentric_spheres():
    numbers = compare_surfaces(sphere(0.50), sphere(0.52, seed=1))
    # the nearest of 20 000 points lies 0.02 above and, root mean square, sqrt(1 / (pi * density)) = 0.007 beside
    assert numbers["chamfer"] == pytest.approx((0.02**2 + 4 * 0.51**2 / 20000) ** 0.5, rel=0.02)
    assert numbers["f1"] == 0 and numbers["normal_consistency"] == pytest.approx(1, abs=1e-3)
    assert compare_surfaces(sphere(0.50), sphere(0.52), radius=0.021)["f1"] == 1


def test_f1_is_the_harmonic_mean_of_precision_and_recall():
    truth = Surface(torch.eye(3).repeat(2, 1), torch.eye(3).repeat(2, 1))
    result = Surface(torch.eye(3)[:1], torch.eye(3)[:1])
    numbers = compare_surfaces(result, truth)
    assert numbers["f1"] == pytest.approx(2 * 1 * (1 / 3) / (1 + 1 / 3))
    assert numbers["chamfer"] == pytest.approx((0 + 2 / 3 * 2**0.5) / 2)


def test_an_empty_result_is_infinitely_far_and_an_empty_truth_is_refused():
    nothing = Surface(torch.zeros(0, 3), torch.zeros(0, 3))
    assert compare_surfaces(nothing, sphere(0.5))["chamfer"] == float("inf")
    with pytest.raises(ValueError, match="`truth` has no points"):
        compare_surfaces(sphere(0.5), nothing)


def test_many_points_are_thinned_the_same_way_every_time():
    a, b = sphere(0.5, 70000), sphere(0.5, 70000, seed=1)
    assert compare_surfaces(a, b) == compare_surfaces(a, b)


def test_without_a_true_surface_there_is_no_number():
    picture, alpha = torch.zeros(1, 11, 11, 3), torch.zeros(1, 11, 11, 1)
    assert Chamfer(ChamferConfig())(Comparison(picture, alpha, picture, alpha)) == {}


def test_only_what_cameras_see_is_sampled():
    """A square in front of another: every point lies on the front one and looks at the camera."""
    pytest.importorskip("asset3d.ops.triangle")
    square = torch.tensor([[-0.4, -0.4, 0], [0.4, -0.4, 0], [0.4, 0.4, 0], [-0.4, 0.4, 0]])
    vertices = torch.cat([square, 0.5 * square - torch.tensor([0, 0, 0.3])])
    faces = torch.tensor([[0, 2, 1], [0, 3, 2], [4, 5, 6], [4, 6, 7]])
    surface = visible_surface(vertices, faces, orbit([0.0, 20.0], 0.0, 2.6, 30.0, 64))
    assert len(surface.points) > 500
    torch.testing.assert_close(surface.points[:, 2], torch.zeros(len(surface.points)), atol=1e-5, rtol=0)
    assert surface.points[:, :2].abs().max() <= 0.4 + 1e-4
    torch.testing.assert_close(surface.normals, torch.tensor([0.0, 0, 1]).expand_as(surface.normals))
