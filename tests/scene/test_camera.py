"""Cameras: clip space and pixels name the same places, at every distance."""
import math

import pytest
import torch

from asset3d.scene.camera import orbit


def test_clip_positions_are_the_pixels_of_project():
    camera = orbit([20.0, 200.0], [15.0, -30.0], 2.6, 30.0, 48, 96)
    points = torch.rand(40, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    clip = camera.clip_positions(points)
    pixel, depth = camera.project(points)
    assert clip.shape == (2, 40, 4)
    torch.testing.assert_close(clip[..., 3], depth)
    size = torch.tensor([96.0, 48.0])
    torch.testing.assert_close((clip[..., :2] / clip[..., 3:] + 1) / 2 * size, pixel, atol=1e-4, rtol=0)


def test_clip_positions_carry_gradients():
    points = torch.zeros(1, 3, requires_grad=True)
    orbit(0.0, 0.0, 2.0, 90.0, 8).clip_positions(points)[..., 0].sum().backward()
    torch.testing.assert_close(points.grad, torch.tensor([[1.0, 0.0, 0.0]]))  # x right, and tan(90 / 2) is 1


@pytest.mark.parametrize("distance", [0.95, 1.2, 2.6, 25.0, 100.0, 3000.0])
def test_a_cube_lies_between_the_depth_planes_at_every_distance(distance):
    fov = 2 * math.degrees(math.atan(1 / distance))
    corners = torch.cartesian_prod(*[torch.tensor([-0.5, 0.5])] * 3)
    clip = orbit([0.0, 45.0], [0.0, 35.26], distance, fov, 32).clip_positions(corners)
    depth = clip[..., 2] / clip[..., 3]
    assert (clip[..., 3] > 0).all() and depth.abs().max() < 1
    assert (depth.amax(1) - depth.amin(1)).min() > 0.05  # the planes are close, so that depths differ in float32


def test_points_outside_of_the_cube_are_between_the_depth_planes_too():
    points = torch.tensor([[0.0, 0.0, -30.0], [0.0, 0.0, 1.5]])
    clip = orbit(0.0, 0.0, 2.0, 60.0, 8).clip_positions(points)
    assert (clip[..., 2].abs() < clip[..., 3]).all()
    empty = orbit(0.0, 0.0, 2.0, 60.0, 8).clip_positions(points[:0])
    assert empty.shape == (1, 0, 4)
