"""Cameras between given ones: where the gaps are, with the object in the picture."""
import pytest
import torch

from asset3d.scene.between import cameras_between
from asset3d.scene.camera import orbit
from asset3d.scene.rigs import views


def assert_rigid(camera):
    turn = camera.camera_to_world[:, :3, :3]
    eye = torch.eye(3).expand_as(turn)
    torch.testing.assert_close(turn @ turn.transpose(1, 2), eye, atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(turn), torch.ones(len(camera)), atol=1e-5, rtol=0)


@pytest.mark.parametrize("order", ["nearest", "sequence"])
def test_on_an_orbit_they_lie_on_the_orbit(order):
    """Half way between 12 cameras at 30 degrees: the same distance and elevation, as `orbit` itself makes them."""
    camera = orbit(torch.arange(12) * 30.0, 0.0, 2.6, 30.0, 64)
    made = cameras_between(camera, 11, order)
    expected = orbit(torch.arange(12) * 30.0 + 15, 0.0, 2.6, 30.0, 64)
    off = (made.camera_to_world[:, None] - expected.camera_to_world[None]).abs().amax((2, 3))
    assert off.amin(1).max() < 1e-5 and len(set(off.argmin(1).tolist())) == 11
    torch.testing.assert_close(made.intrinsics, camera.intrinsics[:11])


def test_the_origin_is_seen_between_where_the_neighbours_see_it():
    camera = orbit([0.0, 40.0], [0.0, 30.0], [2.0, 3.0], [30.0, 40.0], 64)
    shift = torch.tensor([0.0, 0.1, 0.0])
    camera.camera_to_world[0, :3, 3] += shift
    made = cameras_between(camera, 1, "sequence")
    assert_rigid(made)
    pixels, depth = camera.project(torch.zeros(1, 3))
    pixel, middle = made.project(torch.zeros(1, 3))
    assert abs(float(middle[0, 0] - depth[:, 0].mean())) < 1e-5
    low, high = pixels[:, 0].amin(0), pixels[:, 0].amax(0)
    assert bool(((pixel[0, 0] >= low - 1e-3) & (pixel[0, 0] <= high + 1e-3)).all())
    torch.testing.assert_close(made.intrinsics[0], camera.intrinsics.mean(0))


@pytest.mark.parametrize("count", [1, 16, 32, 300])
def test_gaps_are_filled(count):
    """All are rigid, look at the object, and keep clear of the given ones, until there are more than places."""
    camera = views(64)[0][torch.arange(0, 48, 4)]
    made = cameras_between(camera, count)
    assert len(made) == count
    assert_rigid(made)
    pixel, _ = made.project(torch.zeros(1, 3))
    torch.testing.assert_close(pixel, torch.full_like(pixel, 32.0), atol=0.01, rtol=0)
    torch.testing.assert_close(made.position.norm(dim=-1), torch.full((count,), 2.6), atol=1e-3, rtol=0)
    direction, given = (torch.nn.functional.normalize(c.position, dim=-1) for c in (made, camera))
    gap = torch.rad2deg(torch.arccos((direction @ given.T).amax(1).clamp(max=1)))
    assert abs(float(gap[0] - gap.max())) < 1e-3
    if count <= 32:
        assert gap.min() > 10
        near = (direction @ direction.T - 2 * torch.eye(count)).amax(1) if count > 1 else torch.zeros(1)
        assert torch.rad2deg(torch.arccos(near.clamp(max=1))).min() > 10


def distances(made, given):
    """From each of the made cameras to all others, (M, B + M); its own place is far away."""
    every = torch.cat([given.position, made.position]).double()
    distance = (made.position.double()[:, None] - every).norm(dim=-1)
    return distance + 9 * torch.eye(len(made), len(every)).roll(len(given), 1)


@pytest.mark.parametrize("order", ["nearest", "sequence"])
@pytest.mark.parametrize("given", [2, 3, 4, 5])
@pytest.mark.parametrize("count", [1, 3, 5, 8, 60])
def test_none_is_a_given_one_and_no_two_are_the_same(order, given, count):
    """On a quarter of a circle, and at the corners of a square, whose diagonals meet."""
    for step in (30.0, 360.0 / given):
        camera = orbit(torch.arange(given) * step, 20.0, 2.6, 30.0, 32)
        made = cameras_between(camera, count, order)
        assert len(made) == count
        assert distances(made, camera).min() > 2e-3


def test_of_cameras_in_one_direction_too():
    camera = orbit([0.0, 0.0], 20.0, [2.0, 3.0], 30.0, 32)
    made = cameras_between(camera, 7)
    assert distances(made, camera).min() > 0.01


def test_in_a_sequence_every_gap_gets_its_share():
    camera = orbit([0.0, 10.0, 60.0], 0.0, 2.6, 30.0, 32)
    made = cameras_between(camera, 5, "sequence").position
    azimuth = torch.rad2deg(torch.atan2(made[:, 0], made[:, 2]))
    torch.testing.assert_close(azimuth, torch.tensor([10 / 3, 20 / 3, 22.5, 35, 47.5]), atol=1e-3, rtol=0)


def test_the_same_every_time_and_none_when_none_is_asked_for():
    camera = views(64)[0]
    assert torch.equal(cameras_between(camera, 9).camera_to_world, cameras_between(camera, 9).camera_to_world)
    assert len(cameras_between(camera, 0)) == 0 and len(cameras_between(camera, 0, "sequence")) == 0


def test_one_camera_has_no_neighbour():
    with pytest.raises(ValueError, match="at least 2 cameras are needed, got 1"):
        cameras_between(orbit(0.0, 0.0, 2.6, 30.0, 8), 3)
