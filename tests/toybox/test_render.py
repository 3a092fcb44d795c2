"""Maps of the toybox: each agrees with the camera and with the others."""
import pytest
import torch

from asset3d.scene.camera import orbit
from asset3d.toybox import make_object
from asset3d.toybox.render import render_maps


@pytest.fixture(scope="module")
def maps():
    camera = orbit([20.0, 200.0], [15.0, -30.0], 2.6, 30.0, 96)
    return camera, render_maps(make_object(1, ("barrel",), texture_size=256).mesh, camera)


def test_coordinates_lie_on_the_rays_of_their_pixels_at_their_depth(maps):
    camera, m = maps
    hit = m["depth"][..., 0] > 0
    assert 0.1 < float(hit.double().mean()) < 0.6
    for view in range(2):
        pixel, depth = camera[view].project(m["coordinate"][view][hit[view]])
        row, column = torch.nonzero(hit[view], as_tuple=True)
        torch.testing.assert_close(pixel[0], torch.stack([column, row], -1) + 0.5, atol=2e-3, rtol=0)
        torch.testing.assert_close(depth[0], m["depth"][view][hit[view]][:, 0], atol=1e-5, rtol=0)
    assert float(m["coordinate"].abs().max()) <= 0.5 + 1e-6


def test_normals_are_unit_and_face_the_camera(maps):
    camera, m = maps
    hit = m["depth"][..., 0] > 0
    normal = m["normal"][hit]
    torch.testing.assert_close(normal.norm(dim=-1), torch.ones(len(normal)), atol=1e-5, rtol=0)
    toward = (camera.position[:, None, None] - m["coordinate"])[hit]
    facing = ((normal * toward).sum(-1) > -0.02).double().mean()
    assert float(facing) > 0.995   # smooth normals may turn away a little at the outline
    assert float(m["normal"][~hit].abs().max()) == 0


def test_alpha_and_straight_colour(maps):
    _, m = maps
    inside = m["depth"] > 0
    assert set(m["alpha"].unique().tolist()) <= {0.0, 0.25, 0.5, 0.75, 1.0}
    assert float((m["alpha"] - inside.float()).abs().max()) < 1
    covered, edge = m["alpha"][..., 0] == 1, (m["alpha"][..., 0] > 0) & (m["alpha"][..., 0] < 1)
    assert float(m["color"][covered].max()) <= 1 and float(m["color"][m["alpha"][..., 0] == 0].abs().max()) == 0
    assert float(m["color"][edge].mean()) > 0.6 * float(m["color"][covered].mean())   # not darkened by the outside


def test_front_of_the_robot_is_seen_from_azimuth_zero():
    """The face is at +Z: eyes are white from the front, and the back of the head is one colour."""
    mesh = make_object(1, ("robot",), texture_size=512, shading=0.0).mesh
    m = render_maps(mesh, orbit([0.0, 180.0], 0.0, 2.6, 30.0, 128))
    white = (m["color"] > 0.9).all(-1).sum((1, 2))
    assert int(white[0]) > 20 and int(white[1]) == 0
