"""The first step of the stage texture takes long: it can be stopped between its parts."""
from types import SimpleNamespace

import pytest
import torch

from asset3d.errors import Cancelled
from asset3d.stage import texture
from asset3d.stage.base import Context
from asset3d.stage.texture import Texture, TextureConfig

PARTS = {"clean_mesh": ("mesh", SimpleNamespace(removed_components=0)), "relax": "mesh", "decimate": "mesh",
         "unwrap": (SimpleNamespace(faces=[], vertices=[]), SimpleNamespace(charts=1, method="", utilization=1.0)),
         "is_seen": True, "initial_texture": "texture"}
BETWEEN = ["clean_mesh"], ["relax", "decimate", "relax"], ["unwrap", "is_seen"], ["initial_texture"]
"""What is done between two looks at whether the run is to stop."""


@pytest.mark.parametrize("number", range(len(BETWEEN)))
def test_preparing_stops_after_each_part(monkeypatch, tmp_path, number):
    looks, done = [], []

    def stop():
        looks.append(1)
        if len(looks) == number + 1:
            raise Cancelled

    for name, result in PARTS.items():
        monkeypatch.setattr(texture, name, lambda *_, name=name, result=result, **__: done.append(name) or result)
    context = Context("texture", 0, torch.device("cpu"), tmp_path, tmp_path, raise_if_cancelled=stop)
    stage = Texture(TextureConfig(), context)
    stage.dense, stage.views = "mesh", SimpleNamespace(camera=None)
    with pytest.raises(Cancelled):
        stage.step(0)
    assert done == sum(BETWEEN[:number + 1], [])
