"""The tetrahedral mesh: its surface, its band, and that photos move it to the right place."""
import pytest
import torch
from torch import nn

from asset3d.errors import EmptySurface, InputError
from asset3d.loss.mask import Mask, MaskConfig
from asset3d.loss.photometric import Photometric, PhotometricConfig
from asset3d.renderer.mesh import MeshRenderer, MeshRendererConfig
from asset3d.representation._occupancy import OccupancyGrid
from asset3d.representation.tet_mesh import TetMesh, TetMeshConfig
from asset3d.scene.camera import orbit
from asset3d.scene.views import Views
from asset3d.stage._fit import Fit, FitConfig
from asset3d.stage.base import Context
from asset3d.stage.convert import Convert, ConvertConfig, field_mesh


class PaintedBall(nn.Module):
    """A ball whose colour is a linear function of position."""

    def __init__(self, radius=0.3):
        super().__init__()
        self.radius = radius
        self.paint = nn.Linear(3, 3)
        self.occupancy = OccupancyGrid(16)
        with torch.no_grad():
            self.paint.weight.copy_(torch.eye(3))
            self.paint.bias.fill_(0.5)

    def forward(self, x):
        return self.evaluate(x), x

    def evaluate(self, x):
        return x.norm(dim=-1) - self.radius

    def color(self, x, features):
        return self.paint(x)

    @torch.no_grad()
    def evaluate_color(self, x):
        return self.paint(x)


def context(tmp_path, name="test"):
    return Context(name, 3, torch.device("cpu"), tmp_path, tmp_path)


def views(radius, size=64):
    camera = orbit(torch.tensor([0.0, 72, 144, 216, 288]), torch.tensor([10.0, 50, -20, 30, -40]), 2.6, 30, size)
    with torch.no_grad():
        picture = MeshRenderer(MeshRendererConfig(supersample=2)).render(
            TetMesh(TetMeshConfig(resolution=32), PaintedBall(radius)), camera)
    return Views(camera, picture.color / picture.alpha.clamp(min=1e-3), picture.alpha, tuple("abcde"))


def test_the_first_surface_is_the_fields():
    mesh = TetMesh(TetMeshConfig(resolution=32), PaintedBall()).mesh()
    assert (mesh.vertices.norm(dim=-1) - 0.3).abs().max() < 2e-3
    torch.testing.assert_close(mesh.colors, mesh.vertices + 0.5)
    a, b, c = mesh.vertices[mesh.faces].unbind(1)
    volume = (a * torch.linalg.cross(b, c)).sum() / 6  # positive: faces look outward
    assert abs(float(volume) - 4 / 3 * torch.pi * 0.027) < 0.002


def test_the_band_is_small_and_its_edge_is_not_reached():
    whole = TetMesh(TetMeshConfig(resolution=32, band=40), PaintedBall())
    band = TetMesh(TetMeshConfig(resolution=32), PaintedBall())
    assert len(band.grid.tets) < 0.4 * len(whole.grid.tets)
    torch.testing.assert_close(band.mesh().vertices, whole.mesh().vertices)


def test_photos_move_the_surface(tmp_path):
    """From a ball of radius 0.3 to photos of one of 0.315: a pixel apart, at its outline and in its colours."""
    tets = TetMesh(TetMeshConfig(resolution=32, band=3, learning_rate_geometry=1.0), PaintedBall(0.3))
    tets.field.requires_grad_(False)  # the colours are known here, and so they tell the depth
    fit = Fit(FitConfig(steps=50, learning_rate=2e-3, views_per_step=2), context(tmp_path), tets,
              MeshRenderer(MeshRendererConfig()), [Photometric(PhotometricConfig()), Mask(MaskConfig())], views(0.315))
    for step in range(50):
        terms = fit.step(step)
    radius = tets.mesh().vertices.norm(dim=-1)
    assert abs(float(radius.median()) - 0.315) < 2e-3  # a tenth of a pixel of these views
    assert terms["mask"] < 2e-3


def test_smooth_normals_and_depth_of_a_ball():
    tets = TetMesh(TetMeshConfig(resolution=48), PaintedBall())
    camera = orbit([20], [30], 2.6, 30, 65)
    with torch.no_grad():
        picture = MeshRenderer(MeshRendererConfig(normals=True)).render(tets, camera)
    assert abs(float(picture.depth[0, 32, 32, 0]) - 2.3) < 2e-3
    torch.testing.assert_close(picture.normal[0, 32, 32], -camera.forward[0], atol=0.08, rtol=0)  # one face's normal
    assert picture.alpha.min() == 0 and picture.depth[picture.alpha[..., :1] == 0].abs().max() == 0


def test_convert_to_tet_mesh_leaves_the_field_alone_and_refuses_twice(tmp_path):
    field = PaintedBall()
    stage = Convert(ConvertConfig(to="tet_mesh", resolution=32), context(tmp_path))
    assert stage.start(representation=field) == 1
    stage.step(0)
    tets = stage.finish()["representation"]
    with torch.no_grad():
        tets.field.paint.bias.zero_()
    assert float(field.paint.bias.sum().detach()) == 1.5
    with pytest.raises(InputError, match="is a tet_mesh already"):
        Convert(ConvertConfig(to="tet_mesh"), context(tmp_path)).start(representation=tets)


def test_convert_to_mesh_resumes_from_its_state(tmp_path):
    stages = [Convert(ConvertConfig(to="mesh", resolution=32), context(tmp_path)) for _ in range(2)]
    for stage in stages:
        stage.start(representation=PaintedBall())
    assert stages[0].step(0)["faces"] > 1000
    stages[1].load_state(stages[0].state())
    first, second = (stage.finish()["mesh"] for stage in stages)
    assert torch.equal(first.vertices, second.vertices) and torch.equal(first.faces, second.faces)


def test_a_field_without_a_surface_is_an_error_that_says_so():
    with pytest.raises(EmptySurface, match=r"values lie in \[.*\] and never cross 0; train it for more steps"):
        field_mesh(PaintedBall(radius=-1.0), 16)
