"""The first step of the stage texture takes long: it can be stopped between its parts."""
from types import SimpleNamespace

import pytest
import torch

from asset3d.errors import Cancelled
from asset3d.stage import texture
from asset3d.stage.base import Context
from asset3d.stage.texture import Texture, TextureConfig

PARTS = {"clean_mesh": ("mesh", SimpleNamespace(removed_components=0)), "decimate": "mesh",
         "unwrap": (SimpleNamespace(faces=[]), SimpleNamespace(charts=1, method="", utilization=1.0)),
         "initial_texture": "texture"}


@pytest.mark.parametrize("number", range(len(PARTS)))
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
    stage.dense = "mesh"
    with pytest.raises(Cancelled):
        stage.step(0)
    assert done == list(PARTS)[:number + 1]
