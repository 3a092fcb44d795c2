"""The stage that loads posed photos."""
from dataclasses import asdict

import pytest
import torch
from scene import sphere_set

from asset3d.errors import Cancelled, InputError
from asset3d.stage.base import Context
from asset3d.stage.load_views import LoadViews, LoadViewsConfig


def stage(tmp_path, events, **config):
    context = Context("load", 0, torch.device("cpu"), tmp_path, tmp_path,
                      lambda kind, **data: events.append((kind, data)))
    return LoadViews(LoadViewsConfig(**config), context)


def test_load_views(tmp_path):
    sphere_set.write(tmp_path / "set")
    events = []
    loading = stage(tmp_path, events, views=tmp_path / "set", holdout=5)
    assert loading.start() == 0 and LoadViews.writes == ("views",) and LoadViews.reads == ()
    views = loading.finish()["views"]
    assert len(views.train) == 16 and len(views.test) == 4
    assert events == [("message", {"text": "16 views to fit and 4 to judge by, 64 x 64; "
                                           f"the object is at ({', '.join(f'{c:.4g}' for c in views.frame.center)}) "
                                           f"and {views.frame.scale:.4g} large"}),
                      ("manifest", {"frame": asdict(views.frame)})]


def test_loading_stops_between_photos(tmp_path):
    sphere_set.write(tmp_path / "set")
    looks = []

    def stop():
        looks.append(1)
        if len(looks) == 3:
            raise Cancelled

    context = Context("load", 0, torch.device("cpu"), tmp_path, tmp_path, raise_if_cancelled=stop)
    with pytest.raises(Cancelled):
        LoadViews(LoadViewsConfig(views=tmp_path / "set"), context).start()


def test_cutout_is_obeyed(tmp_path):
    sphere_set.write(tmp_path / "set")
    with pytest.raises(InputError, match="cutout is 'masks'"):
        stage(tmp_path, [], views=tmp_path / "set", cutout="masks").start()
    sphere_set.write(tmp_path / "plain", background=torch.ones(64, 64, 3))
    with pytest.raises(InputError, match="cutout is 'alpha'"):
        stage(tmp_path, [], views=tmp_path / "plain", cutout="alpha").start()
    assert stage(tmp_path, [], views=tmp_path / "plain", cutout="background").start() == 0
