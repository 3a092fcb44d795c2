"""The file of a true surface: found broken before the object is fitted."""
import numpy as np
import pytest

from asset3d.errors import InputError
from asset3d.scene.surface_points import read_surface_points
from asset3d.scene.views import load_view_set
from scene import sphere_set

GOOD = {"points": np.random.default_rng(0).random((50, 3)), "normals": np.ones((50, 3))}


@pytest.mark.parametrize("content", [
    {"points": np.zeros((3, 3))}, {"points": np.zeros((3, 3)), "normals": np.zeros(3)},
    {"points": np.full((3, 3), np.nan), "normals": np.ones((3, 3))},
    {"points": np.array([[object()] * 3]), "normals": np.ones((1, 3))}])
def test_a_file_that_is_no_surface_is_refused(tmp_path, content):
    np.savez(tmp_path / "surface.npz", **content)
    with pytest.raises(InputError, match="surface.npz: .*`points` and `normals`"):
        read_surface_points(tmp_path / "surface.npz")


@pytest.mark.parametrize("damage", ["empty", "text", "cut", "flipped"])
def test_a_damaged_file_is_refused(tmp_path, damage):
    file = tmp_path / "surface.npz"
    np.savez_compressed(file, **GOOD)
    data = bytearray(file.read_bytes())
    if damage == "flipped":
        data[200:400] = bytes(255 - b for b in data[200:400])
    file.write_bytes({"empty": b"", "text": b"points", "cut": bytes(data[:len(data) // 2]), "flipped": bytes(data)}[damage])
    with pytest.raises(InputError, match="surface.npz: "):
        read_surface_points(file)


def test_the_one_beside_photos_is_looked_into_when_they_are_loaded(tmp_path):
    sphere_set.write(tmp_path / "set")
    np.savez(tmp_path / "set/surface_points.npz", **GOOD)
    assert load_view_set(tmp_path / "set").surface == tmp_path / "set/surface_points.npz"
    (tmp_path / "set/surface_points.npz").write_bytes(b"")
    with pytest.raises(InputError, match="not a surface"):
        load_view_set(tmp_path / "set")
