"""Tensors find the device they belong to, as far as a machine without a GPU can tell: `meta` plays the other device."""
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from asset3d.scene import mesh_cleanup, views
from asset3d.scene.camera import orbit
from asset3d.scene.mesh import Mesh
from asset3d.stage._fit import Fit
from asset3d.stage.convert import Convert
from asset3d.stage.texture import Texture

META = torch.device("meta")


class Elsewhere(torch.Tensor):
    """A CPU tensor that says that it is on another device."""

    device = META


def elsewhere(*values) -> Elsewhere:
    return torch.tensor(values).as_subclass(Elsewhere)


def test_cleaned_faces_stay_beside_their_vertices(monkeypatch):
    cleaned = []
    monkeypatch.setattr(mesh_cleanup, "remove_unreferenced", lambda mesh: (cleaned.append(mesh) or mesh, 0))
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    mesh_cleanup.clean_mesh(Mesh(vertices, elsewhere([0, 2, 1], [0, 1, 3], [0, 3, 2], [1, 2, 3])))
    assert cleaned[0].faces.device == META


def test_names_of_chosen_views_are_looked_up_on_the_device_of_the_index(monkeypatch):
    devices, arange = [], torch.arange
    monkeypatch.setattr(torch, "arange", lambda n, device=None: devices.append(device) or arange(n))
    images = torch.rand(3, 4, 4, 3)
    whole = views.Views(orbit([0, 1, 2], 0, 2, 30, 4), images, images[..., :1], ("a", "b", "c"))
    assert whole[elsewhere(2, 0)].names == ("c", "a") and devices == [META]
    assert whole[1].names == ("b",) and whole[1:].names == ("b", "c") and whole[torch.tensor([1])].names == ("b",)


class Line(nn.Linear):
    """As much of a representation as the fit asks for when it is loaded."""

    def parameter_groups(self):
        yield "all", 1.0, list(self.parameters())


@pytest.mark.filterwarnings("ignore:.*no-op")  # meta parameters take no values
def test_moments_of_a_checkpoint_go_to_their_parameters():
    fit = Fit.__new__(Fit)
    fit.representation, fit.losses = Line(2, 1, device=META), []
    fit.optimizer = torch.optim.Adam(fit.representation.parameters())
    saved = {"representation.weight": torch.ones(1, 2), "representation.bias": torch.ones(1),
             "optimizer.0.step": torch.tensor(3.0), "optimizer.0.exp_avg": torch.ones(1, 2),
             "progress": torch.tensor([1.0, 0.0])}
    fit.load_state(saved)
    state = fit.optimizer.state[fit.representation.weight]
    assert state["exp_avg"].device == META and state["step"].device.type == "cpu" and state["step"] == 3


def stage_elsewhere(cls):
    stage = cls.__new__(cls)
    stage.context, stage.config = SimpleNamespace(device=META), SimpleNamespace(to="mesh", texture_size=4)
    return stage


def test_a_converted_mesh_comes_back_to_the_device():
    stage = stage_elsewhere(Convert)
    stage.load_state({"vertices": torch.rand(3, 3), "faces": torch.tensor([[0, 1, 2]]), "colors": torch.rand(3, 3)})
    mesh = stage.finish()["mesh"]
    assert {mesh.vertices.device, mesh.faces.device, mesh.colors.device} == {META}


def test_a_textured_mesh_comes_back_to_the_device(monkeypatch):
    stage, begun = stage_elsewhere(Texture), []

    def begin(self, mesh, texture):
        begun.extend([mesh.vertices, mesh.faces, mesh.uvs, texture])
        self.fit = SimpleNamespace(load_state=lambda state: None)

    monkeypatch.setattr(Texture, "_begin_fit", begin)
    stage.load_state({"low.vertices": torch.rand(3, 3), "low.faces": torch.tensor([[0, 1, 2]]),
                      "low.uvs": torch.rand(3, 2), "normal_map": torch.rand(4, 4, 3)})
    assert {tensor.device for tensor in [*begun, stage.normal_map]} == {META} and len(begun) == 4
