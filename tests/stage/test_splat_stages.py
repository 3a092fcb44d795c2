"""What stages do with Gaussians: views between views, a mesh, an asset that is measured and exported."""
import math
from dataclasses import replace

import pytest
import torch
from splat_scenes import random_splats

from asset3d.errors import EmptySurface, InputError, RecipeError
from asset3d.recipe import load
from asset3d.renderer.splat import render_splats
from asset3d.representation._splat_start import turned_to
from asset3d.representation.gaussians import Gaussians, GaussiansConfig
from asset3d.scene.camera import orbit
from asset3d.scene.splats import Splats, load_splats
from asset3d.scene.views import Frame, Views, ViewSet, joined_views
from asset3d.stage._fusion import fused_mesh
from asset3d.stage.base import Context
from asset3d.stage.convert import Convert, ConvertConfig
from asset3d.stage.evaluate import Evaluate, EvaluateConfig
from asset3d.stage.export import Export, ExportConfig
from asset3d.stage.interpolate_views import InterpolateViews, InterpolateViewsConfig

RADIUS = 0.3
PIXEL = 2 * 2.6 * math.tan(math.radians(15))
"""Of a picture with one row, at the distance of the ball."""


def ball_splats(count=3000) -> Splats:
    """Flat Gaussians on a ball, red above and blue below."""
    index = torch.arange(count) + 0.5
    y, angle = 1 - 2 * index / count, index * 2.399963
    r = (1 - y * y).sqrt()
    normal = torch.stack([r * angle.cos(), y, r * angle.sin()], -1)
    color = torch.where(y[:, None] > 0, torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.9]))
    scale = torch.tensor([0.014, 0.014, 0.001]).expand(count, 3)
    return Splats(normal * RADIUS, turned_to(normal), scale, torch.full((count,), 0.95),
                  ((color - 0.5) / 0.28209479)[:, None])


def camera(size=128, count=24):
    return orbit(torch.arange(count) * 137.5, torch.linspace(-60, 75, count), 2.6, 30.0, size)


def representation(splats):
    made = Gaussians(GaussiansConfig(sh_degree=0), torch.Generator())
    made._take(splats)
    return made


def view_set(splats, size=64, count=8, **more) -> ViewSet:
    at = camera(size, count)
    picture = render_splats(splats, at)
    alpha = picture.alpha.clamp(0, 1)
    return ViewSet(Views(at, picture.color / alpha.clamp(min=1e-3), alpha, tuple(map(str, range(count)))), **more)


def context(tmp_path, heard=None):
    emit = {} if heard is None else {"emit": lambda kind, **data: heard.append((kind, data))}
    return Context("stage", 0, torch.device("cpu"), tmp_path, tmp_path, **emit)


def finished(stage, **artifacts):
    for step in range(stage.start(**artifacts)):
        stage.step(step)
    return stage.finish()


# -- a mesh out of depths ---------------------------------------------------------------------------------------------


def test_the_fused_mesh_lies_on_the_ball():
    splats = ball_splats()
    mesh = fused_mesh(lambda one: render_splats(splats, one), camera(), 64)
    off = mesh.vertices.norm(dim=-1) - RADIUS
    assert off.abs().mean() < PIXEL / 128 and off.abs().max() < 3 * PIXEL / 128  # outlines are blurred by a pixel
    normal = mesh.face_normals()
    outward = torch.nn.functional.normalize(mesh.vertices[mesh.faces].mean(1), dim=-1)
    assert (normal * outward).sum(-1).mean() > 0.9
    away = mesh.vertices[:, 1].abs() > 0.05
    above = mesh.vertices[:, 1:2] > 0
    expected = torch.where(above, torch.tensor([0.9, 0.1, 0.1]), torch.tensor([0.1, 0.1, 0.9]))
    assert (mesh.colors - expected)[away].abs().max() < 0.05


def test_nothing_is_no_surface():
    splats = ball_splats()
    faint = replace(splats, opacities=torch.full((len(splats),), 0.01))
    with pytest.raises(EmptySurface):
        fused_mesh(lambda one: render_splats(faint, one), camera(32, 6), 16)


@pytest.mark.parametrize("with_views", [True, False])
def test_convert_to_mesh(tmp_path, with_views):
    splats = ball_splats()
    given = {"views": view_set(splats, 64, 16)} if with_views else {}
    stage = Convert(ConvertConfig(to="mesh", resolution=32), context(tmp_path))
    mesh = finished(stage, representation=representation(splats), **given)["mesh"]
    assert (mesh.vertices.norm(dim=-1) - RADIUS).abs().mean() < PIXEL / 64
    again = Convert(ConvertConfig(to="mesh", resolution=32), context(tmp_path))
    again.start(representation(splats), **given)
    again.load_state(stage.state())
    assert torch.equal(again.finish()["mesh"].vertices, mesh.vertices)


def test_what_cannot_be_converted_is_refused(tmp_path):
    stage = Convert(ConvertConfig(to="tet_mesh"), context(tmp_path))
    with pytest.raises(InputError, match="no signed distance"):
        stage.start(representation(ball_splats()))


STAGES = """
name: wrong
stage:
  - {{type: sample_views}}
  - type: optimize
    representation: {{type: {representation}}}
    renderer: {{type: {renderer}}}
    loss: [{{type: photometric}}]
  - {last}
"""


@pytest.mark.parametrize("representation, renderer, last, why", [
    ("gaussians", "splat", "{type: convert, to: tet_mesh}", "convert them to a mesh"),
    ("sdf_field", "sdf_volume", "{type: convert, to: splats}", "only a representation of type gaussians"),
    ("gaussians", "mesh", "{type: convert, to: mesh}", "draws representations that give 'surface'"),
    ("sdf_field", "sdf_volume", "{type: interpolate_views}", "draws representations that give 'splats'"),
])
def test_recipes_that_cannot_work_are_refused(tmp_path, representation, renderer, last, why):
    path = tmp_path / "wrong.yaml"
    path.write_text(STAGES.format(representation=representation, renderer=renderer, last=last))
    with pytest.raises(RecipeError, match=why):
        load(path)


# -- views between views ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("order", ["nearest", "sequence"])
def test_interpolated_views_show_the_object(tmp_path, order):
    splats, heard = ball_splats(), []
    given = view_set(splats)
    stage = InterpolateViews(InterpolateViewsConfig(count=5, order=order), context(tmp_path, heard))
    out = finished(stage, views=given, representation=representation(splats))["views"]
    assert len(out.train) == 13 and out.train.names[8:] == tuple(f"between_{k:03d}" for k in range(5))
    assert torch.equal(out.train.color[:8], given.train.color)
    picture = render_splats(splats, out.train.camera[torch.arange(8, 13)])
    torch.testing.assert_close(out.train.alpha[8:], picture.alpha, atol=1e-4, rtol=0)
    torch.testing.assert_close(out.train.color[8:] * out.train.alpha[8:], picture.color, atol=1e-4, rtol=0)
    assert [data["path"] for kind, data in heard if kind == "preview"] == [f"between_{k:03d}.png" for k in range(5)]
    assert all((tmp_path / f"between_{k:03d}.png").is_file() for k in range(5))


def test_interpolation_resumes(tmp_path):
    splats = ball_splats(500)
    make = lambda: InterpolateViews(InterpolateViewsConfig(count=4), context(tmp_path))
    given = {"views": view_set(splats), "representation": representation(splats)}
    whole, first, second = make(), make(), make()
    expected = finished(whole, **given)["views"].train
    first.start(**given), first.step(0), first.step(1)
    second.start(**given)
    kept = {name: value.clone() for name, value in first.state().items()}
    assert {name: len(value) for name, value in kept.items()} == {"color": 2, "alpha": 2}
    second.load_state(first.state())
    second.step(2), second.step(3)
    assert all(torch.equal(value, kept[name]) for name, value in first.state().items())
    assert torch.equal(second.finish()["views"].train.color, expected.color)
    assert torch.equal(second.finish()["views"].train.alpha, expected.alpha)


def test_interpolation_writes_into_one_place(tmp_path):
    """Of M views, none is copied when another is made."""
    splats = ball_splats(200)
    stage = InterpolateViews(InterpolateViewsConfig(count=3), context(tmp_path))
    stage.start(view_set(splats), representation(splats))
    places = set()
    for step in range(3):
        stage.step(step)
        places.add(stage.state()["color"].data_ptr())
    assert len(places) == 1


def test_none_is_added_when_none_is_asked_for(tmp_path):
    splats = ball_splats(500)
    given = view_set(splats)
    stage = InterpolateViews(InterpolateViewsConfig(count=0), context(tmp_path))
    out = finished(stage, views=given, representation=representation(splats))["views"].train
    assert torch.equal(out.color, given.train.color) and len(out) == 8
    one = ViewSet(given.train[[0]])
    with pytest.raises(InputError, match="at least 2 training views"):
        stage.start(one, representation(splats))


def test_joined_views_keep_what_both_have():
    views = view_set(ball_splats(500), 32, 4).train
    depth = torch.ones_like(views.alpha)
    valid = depth > 0
    both = joined_views(replace(views, depth=depth, valid=valid), replace(views, depth=depth))
    assert len(both) == 8 and both.valid.all() and both.depth.shape[0] == 8
    assert joined_views(replace(views, depth=depth), views).depth is None
    with pytest.raises(ValueError, match="one size"):
        joined_views(views, view_set(ball_splats(500), 16, 4).train)


# -- the asset --------------------------------------------------------------------------------------------------------


def test_splats_are_measured_against_photos(tmp_path):
    """Views rendered of the very splats: only rounding of alpha and the division by it is between them."""
    splats, heard = ball_splats(), []
    stage = Evaluate(EvaluateConfig(turntable_frames=2, turntable_size=32), context(tmp_path, heard))
    finished(stage, views=view_set(splats), asset=splats)
    numbers = dict(heard[-1][1])
    assert numbers["psnr"] > 60 and numbers["mask_iou"] == 1 and numbers["gaussians"] == 3000
    assert numbers["training_views"] == 8 and "chamfer" not in numbers
    assert {p.name for p in tmp_path.iterdir()} >= {"view_000_photo.png", "view_007_render.png", "turntable_001.png"}


def test_splats_that_no_view_shows_are_refused(tmp_path):
    splats = ball_splats(200)
    away = replace(splats, means=splats.means + 9)
    with pytest.raises(InputError, match="covers no pixel"):
        Evaluate(EvaluateConfig(), context(tmp_path)).start(view_set(splats), away)


def test_splats_are_exported_where_the_cameras_saw_them(tmp_path):
    splats, frame = random_splats(40, 2), Frame((1.0, 2.0, 3.0), 2.5, "z")
    given = replace(view_set(splats), frame=frame)
    config = ExportConfig(exporter=[{"type": "gltf"}, {"type": "ply"}])
    finished(Export(config, context(tmp_path)), asset=splats, views=given)
    for name in ("asset.glb", "asset.ply"):
        loaded = load_splats(tmp_path / name)[0]
        torch.testing.assert_close(loaded.means, frame.placed(splats.means), atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(loaded.scales, splats.scales * 2.5, atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(loaded.harmonics, splats.harmonics)


@pytest.mark.parametrize("fields, why", [({"exporter": [{"type": "obj"}]}, "'obj' does not write splats"),
                                         ({"levels_of_detail": 2}, "no levels of detail")])
def test_exports_that_splats_do_not_have_are_refused(tmp_path, fields, why):
    with pytest.raises(InputError, match=why):
        Export(ExportConfig(**fields), context(tmp_path)).start(asset=random_splats(3))
