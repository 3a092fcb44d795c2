"""Documents with any of their values replaced are read or refused: no other exception, and messages can be shown."""
import copy
import json

import numpy as np
import pytest
import torch

from asset3d.check import check
from asset3d.errors import InputError
from asset3d.scene._untrusted import escaped, is_file, is_name, is_number, printable
from asset3d.scene.mesh import load_mesh
from asset3d.scene.views import load_view_set
from scene import mesh_files, sphere_set

SURROGATE = "\ud800"
VALUES = [[], {}, None, -1, 10**400, SURROGATE, ".", "x" * 300]


def places(node, path=()):
    """The path of every leaf of a JSON document; of long lists of numbers, the first two."""
    if not isinstance(node, (dict, list)) or not node:
        yield path
        return
    numbers = isinstance(node, list) and len(node) > 2 and all(isinstance(x, (int, float)) for x in node)
    for key, value in node.items() if isinstance(node, dict) else enumerate(node[:2] if numbers else node):
        yield from places(value, (*path, key))


def replaced(document, path, value):
    out = copy.deepcopy(document)
    node = out
    for key in path[:-1]:
        node = node[key]
    node[path[-1]] = value
    return out


def refusals(document, write, read, paths=None) -> list[str]:
    """The messages of all documents that differ in one place; what else than InputError is raised fails the test."""
    found = []
    for path in paths or places(document):
        for value in VALUES:
            write(json.dumps(replaced(document, path, value)))
            try:
                read()
            except InputError as error:
                found.append(str(error))
            except Exception as error:
                pytest.fail(f"{path} = {str(value)[:40]!a}: {type(error).__name__}: {error}")
    return found


def test_every_value_of_a_transforms_json(tmp_path):
    sphere_set.write(tmp_path, count=2, size=16)
    document = json.loads((tmp_path / "transforms.json").read_text())
    document["frames"][0] |= {"mask_path": "images/000.png", "depth_file_path": "depth.npy",
                              "normal_file_path": "normal.npy"}
    np.save(tmp_path / "depth.npy", np.ones((16, 16), "<f4"))
    np.save(tmp_path / "normal.npy", np.ones((16, 16, 3), "<f4"))
    document |= {"camera_model": "OPENCV", "k1": 0.0, "p1": 0.0, "depth_unit_scale_factor": 1,
                 "camera_angle_x": 0.7, "train_filenames": ["a"], "test_filenames": []}
    (tmp_path / "transforms.json").write_text(json.dumps(document))
    read = lambda: load_view_set(tmp_path, fit=False)
    assert len(read().train) == 2
    paths = [p for p in places(document) if p[:2] != ("frames", 1)]  # it is like the first frame
    messages = refusals(document, (tmp_path / "transforms.json").write_text, read, paths)
    assert len(messages) > 80 and all(message.isprintable() and len(message) < 700 for message in messages)


def test_every_value_of_a_gltf(tmp_path):
    document, binary = mesh_files.quad()
    (tmp_path / "a.bin").write_bytes(binary)
    document["buffers"][0]["uri"] = "a.bin"
    document["extensionsRequired"] = ["KHR_materials_unlit"]
    document["materials"][0]["pbrMetallicRoughness"] |= {"baseColorFactor": [1, 1, 1, 1]}
    document["materials"][0]["pbrMetallicRoughness"]["baseColorTexture"] |= {"texCoord": 0, "extensions": {}}
    document["accessors"][0] |= {"byteOffset": 0, "normalized": False}
    document["nodes"] = [{"mesh": 0, "translation": [0, 0, 0], "rotation": [0, 0, 0, 1], "scale": [1, 1, 1]},
                         {"children": [0], "matrix": np.eye(4).flatten().tolist()}]
    document["scenes"][0]["nodes"] = [1]
    path = tmp_path / "a.gltf"
    path.write_text(json.dumps(document))
    assert len(load_mesh(path).faces) == 2
    skip = [("accessors", 1), ("accessors", 2), ("bufferViews", 1), ("bufferViews", 2)]  # they are like the first ones
    paths = [p for p in places(document) if p[:2] not in skip]
    messages = refusals(document, path.write_text, lambda: load_mesh(path), paths)
    assert len(messages) > 300 and all(message.isprintable() and len(message) < 700 for message in messages)


@pytest.mark.parametrize("name", ["", ".", "x" * 300, "x" * 253, "..", "a\x1b[2Jb", "/", "a/..", "\\"])
def test_colmap_image_names(tmp_path, name):
    (tmp_path / "images").mkdir()
    (tmp_path / "sparse/0").mkdir(parents=True)
    (tmp_path / "sparse/0/cameras.bin").write_bytes(
        np.uint64(1).tobytes() + np.array([1, 1], "<i4").tobytes() + np.array([8, 8], "<u8").tobytes()
        + np.array([8, 8, 4, 4], "<f8").tobytes())
    (tmp_path / "sparse/0/images.bin").write_bytes(
        np.uint64(1).tobytes() + np.int32(1).tobytes() + np.array([1, 0, 0, 0, 0, 0, 3], "<f8").tobytes()
        + np.int32(1).tobytes() + name.encode() + b"\0" + np.uint64(0).tobytes())
    with pytest.raises(InputError, match="images.bin: image '.*': ") as refused:
        load_view_set(tmp_path)
    assert str(refused.value).isprintable()


def test_a_refusal_can_be_printed(tmp_path, capsys):
    """Also of a path that is no text: file names are bytes."""
    verdict = check(tmp_path / "a\udcff\n.glb")
    print(verdict)
    assert not verdict.accepted and "a\\udcff" in capsys.readouterr().out


def test_values_for_messages():
    assert printable("a\ud800\n\x1b") == "a\\ud800\\n\\x1b" and printable("x" * 99, 10) == "x" * 9 + "…"
    nested = []
    for _ in range(100_000):
        nested = [nested]
    assert printable(nested) == "a list" and printable(10**5000) == "a int"
    assert escaped("Ü 漢") == "Ü 漢"
    assert [is_number(x) for x in (1, 2.5, True, "1", None, 10**400, float("nan"))] == [True, True] + [False] * 5
    assert is_name("ü") and not is_name(SURROGATE) and not is_name("a\0b")


def test_names_that_no_file_system_takes(tmp_path):
    torch.save({}, tmp_path / "a")
    assert is_file(tmp_path / "a") and not is_file(tmp_path / ("x" * 300)) and not is_file(tmp_path / SURROGATE)
