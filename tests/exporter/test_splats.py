"""Exported splats: Khronos' validator and the extension's schema accept them, and they say what they should."""
import json
import struct

import numpy as np
import pytest
import torch
from node_tools import validate_gltf
from splat_scenes import random_splats

from asset3d.errors import InputError
from asset3d.exporter.gltf import Gltf, GltfConfig
from asset3d.exporter.ply import Ply, PlyConfig
from asset3d.scene.color import srgb_from_linear

NAME = "KHR_gaussian_splatting"
SCHEMA = {
    "type": "object", "required": ["colorSpace", "kernel"],
    "properties": {"kernel": {"const": "ellipse"},
                   "colorSpace": {"enum": ["srgb_rec709_display", "lin_rec709_display"]},
                   "projection": {"const": "perspective"}, "sortingMethod": {"const": "cameraDistance"}},
}
"""The extension's schema (Khronos, July 2026), with the values that it defines itself."""


def exported(splats, folder):
    return Gltf(GltfConfig()).export(splats, folder, "splats")[0]


def document_of(path):
    data = path.read_bytes()
    length = struct.unpack("<I", data[12:16])[0]
    return json.loads(data[20:20 + length]), data[28 + length:]


def attribute(document, binary, index):
    accessor = document["accessors"][index]
    view = document["bufferViews"][accessor["bufferView"]]
    width = {"SCALAR": 1, "VEC3": 3, "VEC4": 4}[accessor["type"]]
    return np.frombuffer(binary, "<f4", accessor["count"] * width, view["byteOffset"]).reshape(-1, width)


@pytest.mark.parametrize("degree", [0, 3])
def test_the_validator_knows_all_but_the_new_attributes(tmp_path, degree):
    (report,) = validate_gltf(exported(random_splats(40, degree), tmp_path))
    assert {message["code"] for message in report["messages"]} <= {"MESH_PRIMITIVE_INVALID_ATTRIBUTE",
                                                                   "UNSUPPORTED_EXTENSION"}
    errors = [message for message in report["messages"] if message["severity"] == 0]
    assert all(f"/{NAME}:" in message["pointer"] for message in errors)
    assert len(errors) == 3 + (degree + 1) ** 2


def test_the_schema_of_the_extension_is_met(tmp_path):
    jsonschema = pytest.importorskip("jsonschema")
    document, _ = document_of(exported(random_splats(10, 2), tmp_path))
    (primitive,) = document["meshes"][0]["primitives"]
    jsonschema.validate(primitive["extensions"][NAME], SCHEMA)
    assert document["extensionsUsed"] == [NAME] and "extensionsRequired" not in document
    assert primitive["mode"] == 0 and "indices" not in primitive and "material" not in primitive


def test_attributes_are_of_the_types_that_the_extension_names(tmp_path):
    splats = random_splats(25, 3)
    document, binary = document_of(exported(splats, tmp_path))
    attributes = document["meshes"][0]["primitives"][0]["attributes"]
    kind = {"POSITION": "VEC3", "COLOR_0": "VEC4", f"{NAME}:ROTATION": "VEC4", f"{NAME}:SCALE": "VEC3",
            f"{NAME}:OPACITY": "SCALAR",
            **{f"{NAME}:SH_DEGREE_{l}_COEF_{k}": "VEC3" for l in range(4) for k in range(2 * l + 1)}}
    assert {name: document["accessors"][index]["type"] for name, index in attributes.items()} == kind
    assert {a["componentType"] for a in document["accessors"]} == {5126}
    read = {name: attribute(document, binary, index) for name, index in attributes.items()}
    assert np.allclose(np.linalg.norm(read[f"{NAME}:ROTATION"], axis=1), 1, atol=1e-6)
    assert np.allclose(read[f"{NAME}:ROTATION"], splats.quats[:, [1, 2, 3, 0]], atol=1e-6)  # xyzw
    assert np.array_equal(read[f"{NAME}:SCALE"], splats.scales.numpy()) and (read[f"{NAME}:SCALE"] >= 0).all()
    assert np.array_equal(read[f"{NAME}:OPACITY"][:, 0], splats.opacities.numpy())
    assert np.array_equal(read[f"{NAME}:SH_DEGREE_2_COEF_1"], splats.harmonics[:, 5].numpy())
    # points for viewers without the extension: linear colour, alpha is the opacity
    assert np.allclose(srgb_from_linear(read["COLOR_0"][:, :3]), splats.colors.numpy(), atol=1e-6)
    assert np.array_equal(read["COLOR_0"][:, 3], splats.opacities.numpy())


def test_the_same_splats_give_the_same_bytes(tmp_path):
    for exporter in (Gltf(GltfConfig()), Ply(PlyConfig())):
        first, second = (exporter.export(random_splats(10), tmp_path / str(k))[0].read_bytes() for k in range(2))
        assert first == second


@pytest.mark.parametrize("exporter", [Gltf(GltfConfig()), Ply(PlyConfig())])
def test_what_cannot_be_written_is_refused(tmp_path, exporter):
    broken = random_splats(3)
    broken.scales[1, 2] = float("nan")
    for splats, why in ((broken, "`scales`.*not finite"), (random_splats(0), "no Gaussians")):
        with pytest.raises(InputError, match=why):
            exporter.export(splats, tmp_path)
    assert not list(tmp_path.iterdir())


def test_opaque_and_tiny_gaussians_can_be_written(tmp_path):
    splats = random_splats(3)
    splats.opacities[:], splats.scales[:, 2] = torch.tensor([0.0, 1.0, 0.5]), 0.0
    data = Ply(PlyConfig()).export(splats, tmp_path)[0].read_bytes()
    assert np.isfinite(np.frombuffer(data[data.index(b"end_header\n") + 11:], "<f4")).all()
