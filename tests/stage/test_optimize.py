"""What the optimize stage refuses before anything is computed."""
from types import SimpleNamespace

import pytest
import torch
from pydantic import ValidationError

from asset3d.errors import InputError
from asset3d.stage.base import Context
from asset3d.stage.optimize import Optimize, OptimizeConfig

GIVEN = {"renderer": {"type": "mesh"}, "loss": [{"type": "mask"}]}


@pytest.mark.parametrize("kind, before", [("tet_mesh", "type: convert, to: tet_mesh"),
                                          ("textured_mesh", "type: texture")])
def test_a_representation_that_another_stage_makes_is_refused(kind, before):
    config = OptimizeConfig(name="surface", representation={"type": kind}, **GIVEN)
    with pytest.raises(InputError, match=f"stage 'surface': a {kind} cannot be started from nothing; .*{before}"):
        Optimize.check(config)


def test_a_field_or_none_is_fine():
    Optimize.check(OptimizeConfig(representation={"type": "sdf_field"}, **GIVEN))
    Optimize.check(OptimizeConfig(**GIVEN))
    assert Optimize.reads_of(OptimizeConfig(**GIVEN)) == ("views", "representation")


def test_at_least_one_loss_and_a_known_background():
    for wrong in ({"loss": []}, {"background": "blue"}):
        with pytest.raises(ValidationError):
            OptimizeConfig(**(GIVEN | wrong))


def test_views_of_a_plugin_without_the_maps_that_a_loss_needs_are_refused(tmp_path):
    """What a plugin's views have is known only when they are there."""
    config = OptimizeConfig(name="surface", renderer={"type": "mesh"}, loss=[{"type": "mask"}, {"type": "depth"}])
    assert list(Optimize.faults_of(config, {"views": None})) == []
    stage = Optimize(config, Context("surface", 0, torch.device("cpu"), tmp_path, tmp_path))
    with pytest.raises(InputError, match="stage 'surface': loss 'depth' needs views with 'depth' maps"):
        stage.start(SimpleNamespace(train=SimpleNamespace(depth=None, normal=None)), object())
