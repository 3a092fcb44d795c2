"""The mesh renderer at every distance, and whether a mesh is seen at all."""
import math

import pytest
import torch

from asset3d.renderer.mesh import MeshRenderer, MeshRendererConfig, is_seen
from asset3d.scene.camera import orbit

CORNERS = torch.cartesian_prod(*[torch.tensor([-0.4, 0.4])] * 3)
FACES = torch.tensor([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1],
                      [2, 3, 7], [2, 7, 6], [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])


class Cube:
    """A cube whose colour is its position."""

    def surface(self):
        return CORNERS, FACES

    def color(self, x):
        return x + 0.5


@pytest.mark.parametrize("distance", [1.2, 2.6, 25.0, 100.0])
def test_a_cube_fills_its_pixels_at_every_distance(distance):
    """The field of view is matched to the front face: 40 of 64 pixels wide, at depth distance - 0.4."""
    fov = 2 * math.degrees(math.atan(0.64 / (distance - 0.4)))
    picture = MeshRenderer(MeshRendererConfig()).render(Cube(), orbit(0.0, 0.0, distance, fov, 64))
    assert int((picture.alpha > 0.5).sum()) == 40 * 40
    inside = picture.depth[0, 13:51, 13:51]
    # float32 positions at 100 lengths are exact to 1e-5
    torch.testing.assert_close(inside, torch.full_like(inside, distance - 0.4), atol=1e-6 * distance, rtol=0)
    torch.testing.assert_close(picture.color[0, 32, 32], torch.tensor([0.51, 0.49, 0.9]), atol=1e-4, rtol=0)


def test_a_mesh_that_no_view_shows():
    camera = orbit([0.0, 90.0], 0.0, 2.6, 30.0, 32)
    assert is_seen(CORNERS, FACES, camera)
    assert not is_seen(CORNERS + torch.tensor([0.0, 9.0, 0.0]), FACES, camera)
    assert is_seen(CORNERS + torch.tensor([0.0, 0.0, -9.0]), FACES, camera)
