"""What a run has read decides whether it may be continued: the files of a view set, and no others."""
import json
import shutil
from pathlib import Path

import pytest
from photo_variants import write_model
from scene import sphere_set

from asset3d import InputError, Run
from asset3d.scene.views import load_view_set, view_set_files

RECIPE = {"name": "load", "stage": [{"type": "load_views", "views": "???"}]}


@pytest.fixture
def photos(tmp_path, monkeypatch) -> Path:
    """The current folder is that of a view set of 4 photos."""
    sphere_set.write(tmp_path / "photos", count=4, size=16)
    monkeypatch.chdir(tmp_path / "photos")
    return tmp_path / "photos"


def run(views: str, **options) -> None:
    """A whole run into `o`, the folder that is continued afterwards."""
    Run(RECIPE, "o", **{"load_views.views": views, "load_views.fit": False, **options}).result


def replace_photo(folder: Path) -> None:
    images = sorted((folder / "images").iterdir())
    shutil.copy(images[0], images[1])


def test_a_photo_replaced_is_noticed_when_the_cameras_were_named(photos):
    run("transforms.json")
    Run.resume("o").result
    replace_photo(photos)
    with pytest.raises(InputError, match="load_views.views changed since the run began"):
        Run.resume("o").result


def test_a_photo_replaced_is_noticed_when_the_model_was_named(tmp_path, monkeypatch):
    pytest.importorskip("pycolmap")
    monkeypatch.chdir(tmp_path)
    sphere_set.write(tmp_path, count=4, size=16)
    camera = sphere_set.cameras(4, 16)
    names = sorted(path.name for path in (tmp_path / "images").iterdir())
    write_model(tmp_path / "sparse/0", camera, "PINHOLE", camera.intrinsics[0].tolist(), names, True)
    (tmp_path / "transforms.json").unlink()
    run("sparse/0")
    Run.resume("o").result
    replace_photo(tmp_path)
    with pytest.raises(InputError, match="load_views.views changed since the run began"):
        Run.resume("o").result


def test_files_that_were_not_read_may_change(photos):
    """Outputs of runs inside the folder of photos, thumbnails, another format's cameras."""
    run(".")
    Run(RECIPE, **{"load_views.views": ".", "load_views.fit": False}).result
    (photos / "thumbs.db").write_bytes(b"thumbnails")
    (photos / "images" / "not listed.png").write_bytes(b"new")
    before = (photos / "o/result/manifest.json").read_bytes()
    assert Run.resume("o").result.files == () and (photos / "o/result/manifest.json").read_bytes() == before


@pytest.mark.parametrize("name", ["transforms.json", "surface_points.npz", "masks/000.png", "depth.npy"])
def test_every_file_that_is_read_counts(photos, name):
    document = json.loads(Path("transforms.json").read_text())
    document["frames"][0] |= {"depth_file_path": "depth.npy"}
    Path("transforms.json").write_text(json.dumps(document))
    shutil.copytree("images", "masks")
    sphere_set.np.save("depth.npy", sphere_set.np.ones((16, 16), "<f4"))
    ball = sphere_set.np.eye(3, dtype="<f4")
    sphere_set.np.savez("surface_points.npz", points=ball, normals=ball)
    read = {path.relative_to(photos).as_posix() for path in view_set_files(photos)}
    folders = {f"{folder}/{index:03d}.png" for folder in ("images", "masks") for index in range(4)}
    assert read == {"transforms.json", "surface_points.npz", "depth.npy"} | folders
    run(".")
    with open(name, "ab") as file:
        file.write(b"\n")
    with pytest.raises(InputError, match="load_views.views changed since the run began"):
        Run.resume("o").result


def test_masks_elsewhere_are_an_input_of_their_own(photos):
    shutil.copytree("images", "../cut")
    run(".", **{"load_views.masks": "../cut"})
    Path("../cut/thumbs.db").write_bytes(b"thumbnails")
    Run.resume("o").result
    shutil.copy("images/000.png", "../cut/001.png")
    with pytest.raises(InputError, match=r": load_views.masks changed since the run began"):
        Run.resume("o").result


def test_listing_refuses_what_loading_refuses(photos):
    Path("images/002.png").unlink()
    with pytest.raises(InputError, match="image './images/002.png' is missing") as listed:
        view_set_files(photos)
    with pytest.raises(InputError) as loaded:
        load_view_set(photos)
    assert str(listed.value) == str(loaded.value)
