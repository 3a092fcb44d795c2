"""Masks that cannot be right, and pixels about which a photo says nothing."""
from dataclasses import replace

import pytest
import torch

from asset3d.scene.views import load_view_set
from asset3d.scene.visual_hull import mask_at, visual_hull
from scene import sphere_set


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("ball") / "set"
    sphere_set.write(path, count=24)
    return path


def spoil(folder, target, changes) -> None:
    """A copy whose photo number i has its alpha multiplied with changes[i], (H, W)."""
    import shutil

    from asset3d.scene.image import load_image, save_png

    shutil.copytree(folder, target)
    for index, factor in changes.items():
        file = target / "images" / f"{index:03d}.png"
        picture = load_image(file)
        save_png(file, picture.color, picture.alpha * factor[..., None])


def test_good_masks_are_all_used(folder):
    views = load_view_set(folder)
    assert len(views.train) == 24 and not views.notes


def test_one_bad_mask_is_left_out_and_named(folder, tmp_path):
    factor = torch.zeros(64, 64)
    factor[:, 32:] = 1
    spoil(folder, tmp_path / "set", {7: factor})
    views, good = load_view_set(tmp_path / "set"), load_view_set(folder)
    assert len(views.train) == 23 and not any("007" in name for name in views.train.names)
    assert len(views.notes) == 1 and "007" in views.notes[0] and "left out" in views.notes[0]
    assert views.frame.scale == pytest.approx(good.frame.scale, rel=0.02)
    assert views.frame.center == pytest.approx(good.frame.center, abs=0.03)


def test_many_bad_masks_are_nobodys_to_judge(folder, tmp_path):
    """Half of them: which half is wrong cannot be known; no more are left out than a few can be."""
    factor = torch.zeros(64, 64)
    factor[:, 32:] = 1
    spoil(folder, tmp_path / "set", dict.fromkeys(range(0, 24, 2), factor))
    assert len(load_view_set(tmp_path / "set").train) >= 21


def test_what_a_photo_does_not_show_cuts_nothing_away(folder):
    """The invalid part of a photo, padding for instance, has alpha 0 and says nothing."""
    views = load_view_set(folder).train
    points = torch.rand(500, 3, generator=torch.Generator().manual_seed(0)) - 0.5
    inside = points.norm(dim=-1) < 0.4
    valid = torch.ones_like(views.alpha, dtype=torch.bool)
    valid[3, :, :32] = False
    blind = replace(views, alpha=views.alpha * valid, valid=valid)
    assert (visual_hull(blind, points)[inside] > 0.9).all()
    assert (visual_hull(replace(blind, valid=None), points)[inside] < 0.1).any()
    pixel, _ = views.camera[3].project(points)
    assert (mask_at(blind, 3, points)[pixel[0, :, 0] < 31] == 1).all()
