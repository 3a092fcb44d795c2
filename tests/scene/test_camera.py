"""Cameras: clip space and pixels name the same places."""
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
