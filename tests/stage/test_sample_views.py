"""The stage that makes pictures of a toy: they are whole or absent, since every resumed run loads them again."""
from types import SimpleNamespace

import pytest
import torch

from asset3d.errors import Cancelled
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
