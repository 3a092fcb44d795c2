"""The stage that prepares one photo, or a few: framing, cameras, warnings, refusals."""
import json
import math
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from real_data import shared

from asset3d import Run, recipe, toybox
from asset3d.check import check
from asset3d.errors import Cancelled, InputError, MissingDependency, RecipeError
from asset3d.scene.camera import orbit, orbit_of
from asset3d.scene.image import load_image, save_png
from asset3d.scene.matting import read_matte
from asset3d.scene.prepared import FILL, extent, spread
from asset3d.stage.base import Context
from asset3d.stage.prepare_image import PrepareImage, PrepareImageConfig
from asset3d.toybox.write import write_input


def disk(height=200, width=300, center=(110.0, 130.0), radius=(70.0, 40.0)):
    """A patterned ellipse: straight colours, alpha. Centre and radii as (row, column) in pixels."""
    row, column = np.mgrid[0:height, 0:width] + 0.5
    distance = np.hypot((row - center[0]) / radius[0], (column - center[1]) / radius[1])
    alpha = np.clip((1 - distance) * min(radius) + 0.5, 0, 1)
    stripes = 0.5 + 0.4 * np.sign(np.sin(column / 4))
    color = np.stack([stripes, 0.3 + 0 * stripes, 1 - stripes], -1)
    return torch.from_numpy(color).float(), torch.from_numpy(alpha[..., None]).float()


def photo(path, **shape):
    color, alpha = disk(**shape)
    save_png(path, color * (alpha > 0), alpha)
    return path


def write_camera(path, azimuth=0.0, elevation=12.0, distance=2.6, fov=30.0, edit=None):
    matrix = orbit(azimuth, elevation, distance, fov, 8).camera_to_world[0].double().numpy()
    document = {"fov": fov, "transform_matrix": matrix.tolist()}
    path.write_text(json.dumps(document if edit is None else edit(document, matrix)))
    return path


def prepare(tmp_path, events=None, **config):
    events = [] if events is None else events
    context = Context("prepare", 0, torch.device("cpu"), tmp_path, tmp_path,
                      lambda kind, **data: events.append((kind, data)))
    stage = PrepareImage(PrepareImageConfig(**config), context)
    assert stage.start() == 0
    return stage.finish()["views"]


def warnings(events):
    return [data["text"] for kind, data in events if kind == "warning"]


# ---------------------------------------------------------------------------------------------------------- framing


def test_one_photo_is_centred_scaled_and_seen_from_the_front(tmp_path):
    events = []
    views = prepare(tmp_path, events, image=photo(tmp_path / "disk.png"), elevation=10, size=128)
    train = views.train
    assert views.test is None and views.frame.scale == 1 and train.names == ("disk",)
    assert train.color.shape == (1, 128, 128, 3) and train.alpha.shape == (1, 128, 128, 1)
    rows, columns = (train.alpha[0, ..., 0] > 0.5).nonzero().unbind(-1)
    assert abs(rows.float().mean() + 0.5 - 64) < 0.3 and abs(columns.float().mean() + 0.5 - 64) < 0.3
    assert int(rows.max() - rows.min()) + 1 == pytest.approx(FILL * 128, abs=1.5)
    expected = orbit(0, 10, 1.85, 49.1, 128)
    torch.testing.assert_close(train.camera.camera_to_world, expected.camera_to_world)
    torch.testing.assert_close(train.camera.intrinsics, expected.intrinsics)
    assert warnings(events) == []
    manifest = [data for kind, data in events if kind == "manifest"][0]
    assert manifest["cameras"] == [{"name": "disk", "cutout": "alpha", "azimuth": 0, "elevation": 10,
                                    "elevation_from": "setting", "distance": 1.85, "fov": 49.1, "turned": None}]
    preview = [data for kind, data in events if kind == "preview"][0]
    again = load_image(tmp_path / preview["path"])
    torch.testing.assert_close(again.alpha, train.alpha[0], atol=0.5 / 255 + 1e-6, rtol=0)  # 8 bits


def test_the_elevation_is_estimated_and_the_user_is_told(tmp_path):
    events = []
    views = prepare(tmp_path, events, image=photo(tmp_path / "disk.png"), size=64)
    height = views.train.camera.position[0, 1] / views.train.camera.position[0].norm()
    told = " ".join(data["text"] for kind, data in events if kind == "message")
    assert f"seen from {math.degrees(math.asin(height)):.0f} degrees" in told and "set prepare.elevation" in told


def test_colours_of_the_object_continue_beyond_its_outline(tmp_path):
    path = tmp_path / "red.png"
    _, alpha = disk()
    save_png(path, torch.tensor([0.8, 0.1, 0.2]) * (alpha > 0.02), alpha)  # black where transparent
    color = prepare(tmp_path, image=path, elevation=0, size=96).train.color
    torch.testing.assert_close(color, torch.tensor([0.8, 0.1, 0.2]).expand_as(color), atol=0.01, rtol=0)  # 8 bits


def test_spread_takes_the_nearest():
    color = torch.zeros(1, 6, 3)
    color[0, 1], color[0, 4] = 0.25, 0.75
    alpha = torch.tensor([0, 1.0, 0, 0, 1, 0]).view(1, 6, 1)
    assert spread(color, alpha)[0, :, 0].tolist() == [0.25, 0.25, 0.25, 0.75, 0.75, 0.75]


def test_a_plain_background_is_cut_away_as_alpha_is(tmp_path):
    color, alpha = disk()
    save_png(tmp_path / "plain.png", color * alpha + 0.9 * (1 - alpha))
    save_png(tmp_path / "alpha.png", color, alpha)
    plain, cut = (prepare(tmp_path, image=tmp_path / name, elevation=0, size=64).train
                  for name in ("plain.png", "alpha.png"))
    assert (plain.alpha - cut.alpha).abs().mean() < 0.01 and (plain.alpha - cut.alpha).abs().max() < 0.6
    solid = (cut.alpha > 0.99).expand(-1, -1, -1, 3)
    assert (plain.color - cut.color)[solid].abs().max() < 0.02


def test_several_photos_are_of_one_scale(tmp_path):
    """A long object from its side and from its end: as high on both."""
    side = photo(tmp_path / "side.png", center=(100, 150), radius=(30, 120))
    end = photo(tmp_path / "end.png", height=400, width=400, center=(200, 200), radius=(90, 90))
    train = prepare(tmp_path, image=[side, end], azimuths=[0, 90], elevation=[5, 8], size=128).train
    inside = train.alpha[..., 0] > 0.5
    heights, widths = (inside.any(axis).sum(-1) for axis in (2, 1))
    assert widths[0] == pytest.approx(FILL * 128, abs=1.5) and abs(heights[0] - heights[1]) <= 1
    expected = orbit([0.0, 90.0], [5.0, 8.0], 1.85, 49.1, 128)
    torch.testing.assert_close(train.camera.camera_to_world, expected.camera_to_world)


# ---------------------------------------------------------------------------------------------------------- cameras


def test_a_camera_file_keeps_what_the_camera_saw(tmp_path):
    """The photo of a toy from azimuth 140 is what a camera at azimuth 0 sees of the toy turned by -140 degrees."""
    toy = toybox.make_object(5)
    view = toybox.views(toy, orbit(140.0, 12.0, 2.6, 30.0, 96))
    save_png(tmp_path / "toy.png", view.color[0, ..., :3], view.color[0, ..., 3:])
    write_camera(tmp_path / "toy.json", azimuth=140)
    events = []
    train = prepare(tmp_path, events, image=tmp_path / "toy.png", size=96).train
    expected = orbit(0.0, 12.0, 2.6, 30.0, 96)
    torch.testing.assert_close(train.camera.camera_to_world, expected.camera_to_world, atol=1e-5, rtol=0)
    torch.testing.assert_close(train.camera.intrinsics, expected.intrinsics)
    torch.testing.assert_close(train.alpha, view.color[..., 3:], atol=0.5 / 255 + 1e-5, rtol=0)  # 8 bits
    camera = [data for kind, data in events if kind == "manifest"][0]["cameras"][0]
    assert camera["elevation_from"] == "camera file" and camera["turned"] == pytest.approx(-140, abs=1e-3)
    assert 0.6 < float(extent(train)) < 1.5


def test_what_the_toybox_writes_is_read(tmp_path):
    write_input(toybox.make_object(5).mesh, tmp_path, 64)
    train = prepare(tmp_path, image=tmp_path / "input.png", size=64).train
    torch.testing.assert_close(orbit_of(train.camera), torch.tensor([[0.0, 10.0, 2.6]]), atol=1e-5, rtol=0)


def test_a_wide_photo_with_a_camera_is_padded_and_not_distorted(tmp_path):
    image = photo(tmp_path / "wide.png", height=100, width=200, center=(50, 60), radius=(30, 30))
    write_camera(tmp_path / "wide.json")
    train = prepare(tmp_path, image=image, size=100).train
    rows, columns = (train.alpha[0, ..., 0] > 0.5).nonzero().unbind(-1)
    assert rows.float().mean() + 0.5 == pytest.approx(50, abs=0.2)  # row 50 of 100, with 50 rows added above, halved
    assert columns.float().mean() + 0.5 == pytest.approx(30, abs=0.2)
    focal = 100 / 2 / math.tan(math.radians(15)) / 2
    torch.testing.assert_close(train.camera.intrinsics[0], torch.tensor([focal, focal, 50.0, 50.0]))


def test_cameras_of_several_photos_turn_together(tmp_path):
    images = [photo(tmp_path / f"{name}.png") for name in "ab"]
    for azimuth, name in ((-60, "a"), (30, "b")):
        write_camera(tmp_path / f"{name}.json", azimuth=azimuth)
    events = []
    train = prepare(tmp_path, events, image=images, elevation=3, size=64).train
    expected = orbit([0.0, 90.0], 12.0, 2.6, 30.0, 8).position
    torch.testing.assert_close(train.camera.position, expected, atol=1e-5, rtol=0)
    assert any("elevation and azimuths are not used" in text for text in warnings(events))


def test_a_camera_of_another_scale_is_told(tmp_path):
    photo(tmp_path / "a.png")
    write_camera(tmp_path / "a.json", distance=260)
    events = []
    prepare(tmp_path, events, image=tmp_path / "a.png", size=64)
    assert any("scale the positions" in text for text in warnings(events))


def moved(document, matrix):
    matrix[0, 3] += 1
    return document | {"transform_matrix": matrix.tolist()}


def upside_down(document, matrix):
    return document | {"transform_matrix": (matrix @ np.diag([-1, -1, 1, 1])).tolist()}


def opencv(document, matrix):
    return document | {"transform_matrix": (matrix @ np.diag([1, -1, -1, 1])).tolist()}


BAD_CAMERAS = {
    "not JSON": (lambda d, m: None, "is no camera"),
    "no matrix": (lambda d, m: {"fov": 30}, "transform_matrix missing"),
    "unknown key": (lambda d, m: d | {"fovy": 30}, "unknown key 'fovy'; did you mean 'fov'"),
    "fov": (lambda d, m: d | {"fov": 0}, "1 to 120 degrees, got 0"),
    "fov is text": (lambda d, m: d | {"fov": "wide"}, "got wide"),
    "rows": (lambda d, m: d | {"transform_matrix": [[1, 2], [3, 4]]}, "4 rows of 4 numbers"),
    "NaN": (lambda d, m: d | {"transform_matrix": [[float("nan")] * 4] * 4}, "4 rows of 4 numbers"),
    "mirrored": (lambda d, m: d | {"transform_matrix": (m @ np.diag([-1, 1, 1, 1])).tolist()}, "mirrors"),
    "beside": (moved, "degrees beside the origin"),
    "OpenCV axes": (opencv, "180 degrees beside the origin"),
    "in the origin": (lambda d, m: d | {"transform_matrix": np.eye(4).tolist()}, "in the origin"),
    "upside down": (upside_down, "not upright"),
}


@pytest.mark.parametrize("name", BAD_CAMERAS)
def test_bad_camera_files(tmp_path, name):
    edit, message = BAD_CAMERAS[name]
    config = PrepareImageConfig(image=photo(tmp_path / "a.png"))
    write_camera(tmp_path / "a.json", edit=edit)
    with pytest.raises(InputError, match="a.json: ") as refused:
        PrepareImage.check(config)
    assert message in str(refused.value)
    assert message in check(tmp_path / "a.png").text


def test_camera_files_that_cannot_be_read(tmp_path):
    config = PrepareImageConfig(image=photo(tmp_path / "a.png"))
    for content, message in ((b"{", "not valid JSON"), (b"\xff", "not valid JSON"), (b"[" * 100_000, "not valid JSON"),
                             (b" " * 2**21, "too large")):
        (tmp_path / "a.json").write_bytes(content)
        with pytest.raises(InputError, match=message):
            PrepareImage.check(config)
    write_camera(tmp_path / "a.json", elevation=89.5)
    with pytest.raises(InputError, match="straight down"):
        PrepareImage.check(config)


# --------------------------------------------------------------------------------------------------------- refusals


def test_unreadable_files(tmp_path):
    good = photo(tmp_path / "good.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(good[: len(good) // 2])
    (tmp_path / "text.png").write_text("hello")
    save_png(tmp_path / "blank.png", torch.ones(64, 64, 3), torch.zeros(64, 64, 1))
    save_png(tmp_path / "white.png", torch.ones(64, 64, 3))
    save_png(tmp_path / "dot.png", torch.ones(1, 1, 3))
    save_png(tmp_path / "clear_dot.png", torch.ones(1, 1, 3), torch.zeros(1, 1, 1))
    (tmp_path / "folder.png").mkdir()
    for name, message in (("cut.png", "damaged"), ("text.png", "no readable"), ("blank.png", "blank"),
                          ("white.png", "nothing tells"), ("dot.png", "nothing tells"), ("clear_dot.png", "blank"),
                          ("folder.png", "is not a file")):
        with pytest.raises(InputError, match=message) as refused:
            prepare(tmp_path, image=tmp_path / name)
        assert name in str(refused.value) and "; " in str(refused.value)  # which file, and what to do


RECIPE = {"name": "x", "arguments": {"image": "prepare.image"},
          "stage": [{"type": "prepare_image", "name": "prepare", "image": "???"}]}


@pytest.mark.parametrize("overrides, message", [
    ({}, "must be given: image="),
    ({"image": "nothing.png"}, "image: no such file or folder"),
    ({"image": ["a.png", "nothing.png"]}, r"image.1: no such file or folder"),
    ({"image": []}, "1 to 8 photos, got 0"),
    ({"image": ["a.png"] * 9}, "1 to 8 photos, got 9"),
    ({"image": 5}, "must be the path of a file or folder, got 5"),
    ({"image": "a.png", "prepare.elevation": 90}, "elevation: must be less than or equal to 89, got 90"),
    ({"image": "a.png", "prepare.elevation": "high"}, "elevation: must be a valid number"),
    ({"image": "a.png", "prepare.elevation": [1, 2]}, "as many as photos, 1, got 2"),
    ({"image": "a.png", "prepare.elevation": [-90]}, "elevation.0: must be greater than or equal to -89, got -90"),
    ({"image": ["a.png", "a.png"], "prepare.azimuths": [0]}, "as many as photos, 2, got 1"),
    ({"image": "a.png", "prepare.cutout": "masks"}, "cutout: must be"),
    ({"image": "a.png", "prepare.size": 8}, "size: must be greater than or equal to 32"),
])
def test_bad_settings(tmp_path, monkeypatch, overrides, message):
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "a.png")
    with pytest.raises(RecipeError, match=message) as refused:
        recipe.load(RECIPE, overrides)
    assert len(str(refused.value).splitlines()) == 1


def test_paths_of_the_command_line_start_at_the_current_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photo(tmp_path / "a.png")
    for text in ("image=a.png", "image=[a.png]"):
        (tmp_path / "elsewhere").mkdir(exist_ok=True)
        (tmp_path / "elsewhere/r.yaml").write_text(json.dumps(RECIPE))
        stage = recipe.load(tmp_path / "elsewhere/r.yaml", [text]).stage[0]
        assert stage.images == [tmp_path / "a.png"]
        assert list(PrepareImage.files_of(stage).values()) == [[tmp_path / "a.png"]]


def test_a_run_is_continued_only_with_the_same_camera_file(tmp_path):
    photo(tmp_path / "a.png")
    camera = write_camera(tmp_path / "a.json")
    run = Run(RECIPE, tmp_path / "out", image=tmp_path / "a.png")
    views = run.result.views
    assert views.train.names == ("a",)
    manifest = json.loads((tmp_path / "out/result/manifest.json").read_text())
    assert manifest["stages"]["prepare"]["cameras"][0]["elevation"] == 12
    again = Run.resume(tmp_path / "out").result.views
    torch.testing.assert_close(again.train.color, views.train.color, atol=0, rtol=0)
    write_camera(camera, elevation=30)
    with pytest.raises(InputError, match="prepare.image"):
        Run.resume(tmp_path / "out").result


def test_what_is_no_photo_is_refused_as_such(tmp_path):
    for path in (Path("/"), write_camera(tmp_path / "a.json"), tmp_path):
        config = PrepareImageConfig(image=path)
        PrepareImage.check(config)
        assert list(PrepareImage.files_of(config).values()) == [[path]]
        with pytest.raises(InputError, match="is not a file|no readable"):
            prepare(tmp_path, image=path)


def test_a_hair_is_too_thin_for_small_pictures(tmp_path):
    alpha = torch.eye(800)[..., None]
    save_png(tmp_path / "hair.png", torch.ones(800, 800, 3) * alpha, alpha)
    with pytest.raises(InputError, match="nothing is left of the object at 64 x 64 pixels"):
        prepare(tmp_path, image=tmp_path / "hair.png", size=64)
    assert "outline" in check(tmp_path / "hair.png").text


def test_several_photos_need_directions(tmp_path):
    images = [photo(tmp_path / f"{name}.png") for name in "ab"]
    with pytest.raises(InputError, match="set azimuths"):
        PrepareImage.check(PrepareImageConfig(image=images))
    write_camera(tmp_path / "a.json")
    with pytest.raises(InputError, match="b.json: is missing"):
        PrepareImage.check(PrepareImageConfig(image=images, azimuths=[0, 90]))
    with pytest.raises(ValidationError, match="as many as photos"):
        PrepareImageConfig(image=images, azimuths=[0])


def test_cancelled_between_photos(tmp_path):
    images = [photo(tmp_path / f"{name}.png") for name in "ab"]
    looks = []

    def stop():
        looks.append(1)
        if len(looks) == 2:
            raise Cancelled

    context = Context("prepare", 0, torch.device("cpu"), tmp_path, tmp_path, raise_if_cancelled=stop)
    with pytest.raises(Cancelled):
        PrepareImage(PrepareImageConfig(image=images, azimuths=[0, 90]), context).start()


# ---------------------------------------------------------------------------------------------------------- matting


def noisy(path):
    """A photo before a background that is not plain."""
    color, alpha = disk()
    generator = torch.Generator().manual_seed(0)
    save_png(path, color * alpha + torch.rand(color.shape, generator=generator) * (1 - alpha))
    return path, alpha


def test_a_matting_network_is_asked_for_by_name(tmp_path, monkeypatch):
    path, _ = noisy(tmp_path / "noisy.png")
    monkeypatch.setitem(sys.modules, "rembg", None)
    with pytest.raises(InputError, match='nothing tells .*pip install "rembg'):
        read_matte(path)
    with pytest.raises(MissingDependency, match='pip install "rembg'):
        PrepareImage.check(PrepareImageConfig(image=path, cutout="rembg"))
    with pytest.raises(InputError, match="not of one colour"):
        read_matte(path, "background")
    with pytest.raises(InputError, match="no transparent pixels"):
        read_matte(path, "alpha")


def test_an_installed_matting_network_is_used(tmp_path, monkeypatch):
    from PIL import Image

    path, alpha = noisy(tmp_path / "noisy.png")
    mask = Image.fromarray((alpha[..., 0].numpy() * 255).astype(np.uint8))
    network = SimpleNamespace(new_session=lambda name: name, remove=lambda image, session, only_mask: mask)
    monkeypatch.setitem(sys.modules, "rembg", network)
    monkeypatch.setenv("U2NET_HOME", str(tmp_path / "weights"))
    with pytest.raises(InputError, match="rembg d u2net"):
        read_matte(path)
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights/u2net.onnx").write_bytes(b"")
    for cutout in ("auto", "rembg"):
        matte = read_matte(path, cutout)
        assert matte.how == "rembg" and (matte.alpha - alpha).abs().max() < 1 / 255 + 1e-6


def test_large_photos_are_shrunk_before_they_are_cut_out(tmp_path):
    path = photo(tmp_path / "large.png", height=30, width=4096, center=(15, 2048), radius=(12, 1000))
    matte = read_matte(path)
    assert matte.color.shape == (15, 2048, 3)
    assert float((matte.alpha > 0.5).float().mean()) == pytest.approx(math.pi * 12 * 1000 / (30 * 4096), rel=0.03)


# ----------------------------------------------------------------------------------------------------- input doctor


def blurred(color, sigma=8):
    from scipy.ndimage import gaussian_filter

    return torch.from_numpy(gaussian_filter(color.numpy(), (sigma, sigma, 0)))


DOCTOR = {
    "is only 80 pixels long": lambda c, a: disk(100, 100, (50, 50), (40, 20)),
    "fills only": lambda c, a: disk(1200, 1200, (600, 600), (90, 45)),
    "touches the left border": lambda c, a: disk(center=(110, 20)),
    "touches the left and the right border": lambda c, a: disk(200, 100, (100, 50), (60, 90)),
    "in 2 parts": lambda c, a: (c, torch.maximum(a, disk(center=(100, 240), radius=(20, 20))[1])),
    "outline is soft": lambda c, a: (c, blurred(a.expand(-1, -1, 3), 20)[..., :1]),
    "very dark": lambda c, a: (c * 0.1, a),
    "very bright": lambda c, a: (1 - c * 0.05, a),
    "hardly any contrast": lambda c, a: (c * 0 + 0.5, a),
    "is blurred": lambda c, a: (blurred(c + 0.5 * torch.linspace(0, 1, 200).view(-1, 1, 1)), a),
}


@pytest.mark.parametrize("warning", DOCTOR)
def test_what_spoils_an_asset_is_told_before(tmp_path, warning):
    color, alpha = DOCTOR[warning](*disk())
    save_png(tmp_path / "a.png", color, alpha)
    events = []
    prepare(tmp_path, events, image=tmp_path / "a.png", elevation=0, size=64)
    told = [text for text in warnings(events) if warning in text]
    assert len(told) == 1 and told[0].startswith("a: ")
    verdict = check(tmp_path / "a.png")
    assert verdict.accepted and told[0].removeprefix("a: ") in verdict.text


def test_check_says_when_nothing_can_be_cut_out(tmp_path):
    path, _ = noisy(tmp_path / "noisy.png")
    verdict = check(path)
    assert verdict.accepted and "cannot be made into an asset by itself: nothing tells" in verdict.text


@pytest.mark.parametrize("name, told", [
    ("realfusion15/cactus/rgba.png", []), ("realfusion15/teddy_bear/rgba.png", []),
    ("threestudio/hamburger/rgba.png", []), ("misc/wonder3d_owl.png", []), ("misc/triposr_teapot_rgb.png", []),
    ("realfusion15/barbie_cake/rgba.png", ["in 2 parts"]), ("realfusion15/microphone/rgba.png", ["bottom border"]),
])
def test_real_photos(tmp_path, name, told):
    events = []
    train = prepare(tmp_path, events, image=shared("data", "images", name), size=128).train
    said = warnings(events)
    assert len(said) == len(told) and all(part in text for part, text in zip(told, said))
    inside = train.alpha[0, ..., 0] > 0.5
    longest = max(int(inside.any(axis).sum()) for axis in (0, 1))
    assert longest == pytest.approx(FILL * 128, abs=3)  # fingers and hair are thinner than a pixel
    assert float(train.color.std()) > 0.05 and bool(train.color.isfinite().all())
