"""Gaussian splats as data: they move, they are read from PLY and GLB, and unsound files are refused."""
import json
import struct

import numpy as np
import pytest
import torch
from splat_scenes import random_splats

from asset3d.check import check
from asset3d.errors import InputError
from asset3d.exporter.gltf import Gltf, GltfConfig
from asset3d.exporter.ply import Ply, PlyConfig
from asset3d.ops._gaussian_reference import harmonics_basis
from asset3d.ops.gaussian import rasterize_gaussians, spherical_harmonics
from asset3d.renderer.splat import render_splats
from asset3d.scene.camera import orbit
from asset3d.scene.conventions import WORLDS, rotation_from_quaternion
from asset3d.scene.harmonics import TERMS, degree_of, rotation_of_terms
from asset3d.scene.mesh import load_mesh
from asset3d.scene.splats import holds_splats, joined, load_splats


def written(splats, folder, kind="ply", **options):
    exporter = Ply(PlyConfig(**options)) if kind == "ply" else Gltf(GltfConfig(**options))
    return exporter.export(splats, folder)[0]


def assert_same(a, b, tolerance=1e-5):
    for name in ("means", "quats", "scales", "opacities", "harmonics"):
        torch.testing.assert_close(getattr(a, name), getattr(b, name), atol=tolerance, rtol=tolerance)


def rotation(seed=0):
    q = torch.randn(4, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return torch.from_numpy(rotation_from_quaternion(q.numpy()))


def covariances(splats):
    turn = torch.stack([torch.from_numpy(rotation_from_quaternion(q.double().numpy())) for q in splats.quats])
    axes = turn * splats.scales.double()[:, None]
    return axes @ axes.transpose(1, 2)


# -- harmonics and transforms -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("degree", range(4))
def test_the_terms_are_orthonormal(degree):
    """The mean of two terms' product over the sphere is 1/(4 pi) or 0; a Gauss-Legendre grid integrates it exactly."""
    z, weight = np.polynomial.legendre.leggauss(8)
    angle = np.arange(16) * (2 * np.pi / 16)
    r = np.sqrt(1 - z * z)[:, None]
    points = np.stack([r * np.cos(angle), r * np.sin(angle), np.broadcast_to(z[:, None], (8, 16))], -1).reshape(-1, 3)
    values = harmonics_basis(torch.from_numpy(points), degree)
    weights = torch.from_numpy(np.repeat(weight, 16) * (2 * np.pi / 16))
    product = values.T @ (values * weights[:, None])
    torch.testing.assert_close(product, torch.eye(TERMS[degree], dtype=torch.float64), atol=1e-12, rtol=0)


@pytest.mark.parametrize("mirrored", [False, True])
def test_turned_terms_show_the_same_from_the_turned_direction(mirrored):
    turn = rotation(3) * (-1 if mirrored else 1)
    terms = torch.randn(16, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    directions = torch.nn.functional.normalize(torch.randn(40, 3, generator=torch.Generator().manual_seed(2),
                                                           dtype=torch.float64), dim=-1)
    before = harmonics_basis(directions, 3) @ terms
    after = harmonics_basis(directions @ turn.T, 3) @ (rotation_of_terms(turn, 3) @ terms)
    torch.testing.assert_close(after, before, atol=1e-12, rtol=0)


@pytest.mark.parametrize("degree", range(4))
def test_the_terms_are_those_of_the_operator(degree):
    directions = torch.nn.functional.normalize(torch.randn(30, 3, generator=torch.Generator().manual_seed(4),
                                                           dtype=torch.float64), dim=-1)
    terms = torch.randn(30, TERMS[degree], 3, generator=torch.Generator().manual_seed(5), dtype=torch.float64) * 0.1
    expected = (0.5 + torch.einsum("nk,nkc->nc", harmonics_basis(directions, degree), terms)).clamp(min=0)
    torch.testing.assert_close(spherical_harmonics(terms, directions, degree)[0], expected, atol=1e-12, rtol=0)


def test_terms_of_no_degree_are_refused():
    assert [degree_of(k) for k in TERMS] == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="1, 4, 9, 16 terms, got 5"):
        degree_of(5)


@pytest.mark.parametrize("mirrored", [False, True])
def test_transformed(mirrored):
    splats, turn = random_splats(20, 3), rotation(5) * (-1 if mirrored else 1)
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3], matrix[:3, 3] = turn * 2.5, torch.tensor([1.0, -2.0, 0.5])
    moved = splats.transformed(matrix)
    torch.testing.assert_close(moved.means.double(), splats.means.double() @ turn.T * 2.5 + matrix[:3, 3], atol=1e-6,
                               rtol=1e-6)
    torch.testing.assert_close(covariances(moved), 6.25 * turn @ covariances(splats) @ turn.T, atol=1e-6, rtol=1e-5)
    assert_same(moved.transformed(torch.linalg.inv(matrix)), splats) if not mirrored else None
    assert torch.equal(moved.opacities, splats.opacities)


def test_a_stretch_is_refused():
    with pytest.raises(ValueError, match="scaled alike"):
        random_splats(2).transformed(torch.diag(torch.tensor([1.0, 2.0, 1.0, 1.0])))


# -- files ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["ply", "glb"])
@pytest.mark.parametrize("degree", range(4))
def test_files_come_back(tmp_path, kind, degree):
    splats = random_splats(50, degree)
    path = written(splats, tmp_path, kind)
    loaded, notes = load_splats(path)
    assert holds_splats(path) and loaded.degree == degree and notes == ()
    assert_same(loaded, splats)
    assert check(path).accepted and check(path).text == ""


def test_plyfile_reads_the_common_layout(tmp_path):
    plyfile = pytest.importorskip("plyfile")
    splats = random_splats(30, 2)
    vertex = plyfile.PlyData.read(written(splats, tmp_path))["vertex"]
    names = [p.name for p in vertex.properties]
    assert names == [*"xyz", "nx", "ny", "nz", *(f"f_dc_{k}" for k in range(3)), *(f"f_rest_{k}" for k in range(24)),
                     "opacity", *(f"scale_{k}" for k in range(3)), *(f"rot_{k}" for k in range(4))]
    column = lambda name: torch.from_numpy(np.array(vertex[name]))
    torch.testing.assert_close(torch.sigmoid(column("opacity")), splats.opacities)
    torch.testing.assert_close(column("scale_1").exp(), splats.scales[:, 1])
    torch.testing.assert_close(column("rot_0"), splats.quats[:, 0])
    assert not column("nx").any()
    for channel, start in enumerate((0, 8, 16)):  # all of red, then of green, then of blue
        assert torch.equal(column(f"f_rest_{start + 4}"), splats.harmonics[:, 5, channel])


def test_ascii_big_endian_and_other_orders_are_read(tmp_path):
    plyfile = pytest.importorskip("plyfile")
    splats = random_splats(7, 1)
    data = plyfile.PlyData.read(written(splats, tmp_path))
    turned = data["vertex"].data[list(reversed(data["vertex"].data.dtype.names))].astype(
        [(name, "f8") for name in reversed(data["vertex"].data.dtype.names)])
    for text, order in ((True, "="), (False, ">")):
        path = tmp_path / f"{text}.ply"
        plyfile.PlyData([plyfile.PlyElement.describe(turned, "vertex")], text=text, byte_order=order).write(path)
        assert_same(load_splats(path)[0], splats)


@pytest.mark.parametrize("axes", WORLDS)
def test_ply_in_the_axes_of_programs(tmp_path, axes):
    splats = random_splats(10, 3)
    loaded = load_splats(written(splats, tmp_path, axes=axes))[0]
    world = WORLDS[axes]
    np.testing.assert_allclose(loaded.means.double(), world.from_ours(splats.means.double().numpy()), rtol=1e-5)
    matrix = torch.from_numpy(world.matrix * world.units_per_metre)
    torch.testing.assert_close(covariances(loaded), matrix @ covariances(splats) @ matrix.T, rtol=1e-4, atol=1e-9)
    direction = torch.nn.functional.normalize(torch.tensor([[0.3, -0.5, 0.8]], dtype=torch.float64), dim=-1)
    seen = harmonics_basis(direction @ torch.from_numpy(world.matrix).T, 3) @ loaded.harmonics[:, :, 1].double().T
    torch.testing.assert_close(seen, harmonics_basis(direction, 3) @ splats.harmonics[:, :, 1].double().T, atol=1e-6, rtol=0)


def test_what_cannot_be_drawn_is_left_out_and_told(tmp_path):
    splats = random_splats(9)
    path = written(splats, tmp_path)
    data = bytearray(path.read_bytes())
    row = (len(data) - data.index(b"end_header\n") - 11) // 9
    start = data.index(b"end_header\n") + 11
    data[start + 2 * row:start + 2 * row + 4] = struct.pack("<f", float("nan"))
    data[start + 6 * row - 16:start + 6 * row] = bytes(16)  # no rotation
    path.write_bytes(data)
    loaded, notes = load_splats(path)
    assert len(loaded) == 7 and notes == ("2 of 9 Gaussians are not finite or absurdly large, and left out",)
    assert check(path).accepted and "2 of 9" in check(path).text
    assert_same(loaded, splats[torch.tensor([0, 1, 3, 4, 6, 7, 8])])


def test_a_nodes_place_counts(tmp_path):
    splats = random_splats(12, 2)
    path = edited(written(splats, tmp_path, "glb"), lambda d: d["nodes"][0].update(
        translation=[1, 2, 3], scale=[2, 2, 2], rotation=[0, 0.6, 0, 0.8]))
    matrix = torch.eye(4, dtype=torch.float64)
    matrix[:3, :3] = 2 * torch.from_numpy(rotation_from_quaternion(np.array([0.8, 0, 0.6, 0])))
    matrix[:3, 3] = torch.tensor([1.0, 2.0, 3.0])
    assert_same(load_splats(path)[0], splats.transformed(matrix))


@pytest.mark.parametrize("stretch", [0.0, 1.5e-5, 3e-5, 6e-5, 1.4e-4, 1.6e-4, 1e-3])
def test_a_node_may_stretch_by_rounding(tmp_path, stretch):
    """Up to 1e-4 of the mean of the three; the file is read or refused, and `check` says the same."""
    splats = random_splats(12, 2)
    path = edited(written(splats, tmp_path, "glb"), lambda d: d["nodes"][0].update(scale=[1, 1, 1 + stretch]))
    if stretch < 1.5e-4:
        assert_same(load_splats(path)[0], splats, 2e-4)  # as far as it is stretched
    else:
        with pytest.raises(InputError, match="stretches it differently"):
            load_splats(path)
    assert check(path).accepted == (stretch < 1.5e-4)


@pytest.mark.parametrize("kind", ["ply", "glb"])
def test_quaternions_that_were_never_divided_by_their_length(tmp_path, kind):
    """What such a checkpoint shows is what the operator draws without the division; it can be placed and written."""
    raw = random_splats(40, 1)
    raw.quats *= 0.7 + 0.6 * torch.rand(40, 1, generator=torch.Generator().manual_seed(1))
    path = written(raw, tmp_path, kind)
    data = bytearray(path.read_bytes())
    order = [0, 1, 2, 3] if kind == "ply" else [1, 2, 3, 0]
    unit = torch.nn.functional.normalize(raw.quats.double(), dim=-1).float()
    for k in range(40):  # exporters write unit quaternions
        old, new = (quats[k, order].numpy().astype("<f4").tobytes() for quats in (unit, raw.quats))
        assert data.count(old) == 1
        data = data.replace(old, new)
    path.write_bytes(data)
    loaded = load_splats(path, normalize_quats=False)[0]
    torch.testing.assert_close(loaded.quats.norm(dim=-1), torch.ones(40))
    camera = orbit([0.0, 100.0], 20.0, 2.6, 30.0, 64)
    place = camera.world_to_camera(), camera.intrinsics, (64, 64)
    plain = rasterize_gaussians(raw.means, raw.quats, raw.scales, raw.opacities, raw.harmonics, *place, sh_degree=1,
                                normalize_quats=False)
    again = load_splats(written(loaded, tmp_path, kind))[0]
    for splats in (loaded, again):
        torch.testing.assert_close(render_splats(splats, camera).color, plain.color, atol=1e-4, rtol=0)
    assert (render_splats(load_splats(path)[0], camera).color - plain.color).abs().max() < 1e-4  # written again: unit
    path.write_bytes(data)
    assert (render_splats(load_splats(path)[0], camera).color - plain.color).abs().max() > 0.05


def test_several_uses_are_joined():
    few, many = random_splats(3, 0), random_splats(4, 2)
    both = joined([few, many])
    assert len(both) == 7 and both.degree == 2 and not both.harmonics[:3, 1:].any()


def edited(path, change):
    """The GLB with its JSON changed."""
    data = path.read_bytes()
    length = struct.unpack("<I", data[12:16])[0]
    document = json.loads(data[20:20 + length])
    change(document)
    text = json.dumps(document).encode()
    text += b" " * (-len(text) % 4)
    rest = data[20 + length:]
    path.write_bytes(struct.pack("<III", 0x46546C67, 2, 20 + len(text) + len(rest))
                     + struct.pack("<II", len(text), 0x4E4F534A) + text + rest)
    return path


def primitive(document):
    return document["meshes"][0]["primitives"][0]


GLB_FAULTS = {
    "kernel": (lambda d: primitive(d)["extensions"]["KHR_gaussian_splatting"].update(kernel="box"), "kernel is 'box'"),
    "no colour space": (lambda d: primitive(d)["extensions"]["KHR_gaussian_splatting"].pop("colorSpace"), "colorSpace"),
    "extension": (lambda d: primitive(d)["extensions"].update(KHR_gaussian_splatting=3), "is no object"),
    "mode": (lambda d: primitive(d).update(mode=4), "must be points"),
    "rotation": (lambda d: primitive(d)["attributes"].pop("KHR_gaussian_splatting:ROTATION"), "has no KHR"),
    "wrong type": (lambda d: primitive(d)["attributes"].update(
        {"KHR_gaussian_splatting:SCALE": primitive(d)["attributes"]["KHR_gaussian_splatting:ROTATION"]}), "VEC4"),
    "half a degree": (lambda d: primitive(d)["attributes"].pop("KHR_gaussian_splatting:SH_DEGREE_1_COEF_2"), "whole"),
    "stretched": (lambda d: d["nodes"][0].update(scale=[1, 1, 3]), "stretches"),
    "nothing": (lambda d: d["nodes"][0].pop("mesh"), "has no splats"),
    "opacity": (lambda d: primitive(d)["attributes"].update({"KHR_gaussian_splatting:OPACITY": add_scalar(d)}), "count"),
}


def add_scalar(document):
    document["accessors"].append({"bufferView": 0, "componentType": 5126, "count": 1, "type": "SCALAR"})
    return len(document["accessors"]) - 1


@pytest.mark.parametrize("fault", GLB_FAULTS)
def test_unsound_glb_is_refused(tmp_path, fault):
    change, why = GLB_FAULTS[fault]
    path = edited(written(random_splats(5, 1), tmp_path, "glb"), change)
    with pytest.raises(InputError, match=why):
        load_splats(path)


def test_linear_colours_are_told(tmp_path):
    path = edited(written(random_splats(5), tmp_path, "glb"), lambda d: primitive(d)["extensions"][
        "KHR_gaussian_splatting"].update(colorSpace="lin_rec709_display", sortingMethod="other"))
    notes = load_splats(path)[1]
    assert "linear" in notes[0] and "sortingMethod" in notes[1]


PLY_FAULTS = {
    "truncated": (lambda data: data[:-1], "bytes are there"),
    "no rotation": (lambda data: data.replace(b"float rot_3", b"float rot_4"), "has no 'rot_3'"),
    "gap": (lambda data: data.replace(b"float f_rest_8\n", b"float f_rest_9\n"), "f_rest"),
    "count": (lambda data: data.replace(b"vertex 5\n", b"vertex 0\n"), "promises 0 Gaussians"),
    "more": (lambda data: data.replace(b"vertex 5\n", b"vertex 99999999999\n"), "can be read"),
    "twice": (lambda data: data.replace(b"float nx\n", b"float x\n"), "a name twice"),
    "other element": (lambda data: data.replace(b"element vertex", b"element splats"), "does not begin"),
    "all broken": (lambda data: data[:data.index(b"end_header\n") + 11] + b"\xff" * (len(data) - data.index(b"end_header\n") - 11),
                   "none of its 5 Gaussians"),
}


@pytest.mark.parametrize("fault", PLY_FAULTS)
def test_unsound_ply_is_refused(tmp_path, fault):
    change, why = PLY_FAULTS[fault]
    path = written(random_splats(5, 1), tmp_path)
    path.write_bytes(change(path.read_bytes()))
    with pytest.raises(InputError, match=why):
        load_splats(path)


def test_splats_are_no_mesh(tmp_path):
    for kind, why in (("ply", "holds Gaussian splats"), ("glb", "no triangles")):
        with pytest.raises(InputError, match=why):
            load_mesh(written(random_splats(5), tmp_path, kind))
    with pytest.raises(InputError, match="hold no splats"):
        load_splats(tmp_path / "splats.obj")
