"""The stage that makes pictures of a toy: they are whole or absent, since every resumed run loads them again."""
from types import SimpleNamespace

import pytest
import torch

from asset3d.errors import Cancelled
from asset3d.scene.camera import orbit_of
from asset3d.stage import sample_views
from asset3d.stage.base import Context
from asset3d.stage.sample_views import SampleViews, SampleViewsConfig
from scene import sphere_set


def test_pictures_are_whole_or_absent(tmp_path, monkeypatch):
    def write(mesh, folder, size):
        (folder / "000.png").write_bytes(b"half")
        raise RuntimeError("half way")

    monkeypatch.setattr(sample_views, "make_object", lambda *_: SimpleNamespace(caption="a toy", mesh=None))
    monkeypatch.setattr(sample_views, "write_view_set", write)
    stage = SampleViews(SampleViewsConfig(), Context("sample", 0, torch.device("cpu"), tmp_path, tmp_path))
    with pytest.raises(RuntimeError, match="half way"):
        stage.step(0)
    assert list(tmp_path.iterdir()) == []


def test_loading_stops_between_pictures(tmp_path):
    def stop():
        raise Cancelled("stopped", 130)

    sphere_set.write(tmp_path / "views", count=2, size=16)
    context = Context("sample", 0, torch.device("cpu"), tmp_path, tmp_path, raise_if_cancelled=stop)
    with pytest.raises(Cancelled):
        SampleViews(SampleViewsConfig(), context).finish()


def test_a_single_picture_from_the_front_in_the_canonical_frame(tmp_path):
    config = SampleViewsConfig(category="mug", size=48, give="front")
    stage = SampleViews(config, Context("sample", 0, torch.device("cpu"), tmp_path, tmp_path))
    stage.step(0)
    views = stage.finish()["views"]
    assert len(views.train) == 1 and len(views.test) == 12
    assert views.frame.scale == 1 and views.frame.center == (0, 0, 0)
    azimuth, elevation, distance = orbit_of(views.train.camera)[0].tolist()
    assert abs(azimuth) < 1e-3 and abs(elevation - 10) < 1e-3 and abs(distance - 2.6) < 1e-5
    assert 0.1 < float((views.train.alpha > 0.5).float().mean()) < 0.6
