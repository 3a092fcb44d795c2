"""Rigs: the one of the shared view sets to the digit, and the random ones within their ranges."""
import json

import pytest
import torch
from real_data import shared

from asset3d.scene import rigs


def test_views_rig_is_that_of_the_shared_sets():
    for split, camera in zip(("train", "test"), rigs.views()):
        document = json.loads(shared("data/views/spot_cow", f"transforms_{split}.json").read_text())
        matrices = torch.tensor([frame["transform_matrix"] for frame in document["frames"]])
        torch.testing.assert_close(camera.camera_to_world, matrices, atol=3e-6, rtol=0)
        expected = torch.tensor([document[k] for k in ("fl_x", "fl_y", "cx", "cy")]).expand(len(camera), 4)
        torch.testing.assert_close(camera.intrinsics, expected, atol=1e-4, rtol=0)
        assert (camera.width, camera.height) == (document["w"], document["h"])


@pytest.mark.parametrize("rig, near, far, low, high, fov", [
    (rigs.zero123, 1.5, 2.2, -90, 90, 49.1), (rigs.hifi123, 3.8, 3.8, -10, 60, 20.0)])
def test_random_rigs_stay_in_their_ranges(rig, near, far, low, high, fov):
    camera = rig(torch.Generator().manual_seed(3), count=400, size=64)
    distance = camera.position.norm(dim=1)
    elevation = torch.rad2deg(torch.arcsin(camera.position[:, 1] / distance))
    assert near - 1e-4 <= float(distance.min()) and float(distance.max()) <= far + 1e-4
    assert low - 1e-3 <= float(elevation.min()) < low + 12 and high - 12 < float(elevation.max()) <= high + 1e-3
    seen = 2 * torch.rad2deg(torch.arctan(32 / camera.intrinsics[:, 1]))
    torch.testing.assert_close(seen, torch.full((400,), fov), atol=1e-3, rtol=0)
    again = rig(torch.Generator().manual_seed(3), count=400, size=64)
    assert torch.equal(camera.camera_to_world, again.camera_to_world)
