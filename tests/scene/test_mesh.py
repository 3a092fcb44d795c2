"""Meshes: loading each format, joining parts, methods."""
import math
import tracemalloc

import numpy as np
import pytest
import torch
from real_data import shared
from scene import mesh_files

from asset3d.errors import InputError
from asset3d.scene import _gltf, _gltf_mesh
from asset3d.scene.image import save_png
from asset3d.scene.material import Material
from asset3d.scene.mesh import Mesh, joined, load_mesh, load_parts, save_mesh
from asset3d.scene.mesh_topology import vertex_normals


@pytest.fixture
def quad_files(tmp_path):
    """One square as GLB, OBJ and PLY."""
    (tmp_path / "quad.glb").write_bytes(mesh_files.glb(*mesh_files.quad()))
    (tmp_path / "quad.obj").write_bytes(mesh_files.OBJ)
    (tmp_path / "quad.mtl").write_bytes(mesh_files.MTL)
    save_png(tmp_path / "quad.png", mesh_files.TEXTURE)
    (tmp_path / "quad.ply").write_bytes(mesh_files.PLY)
    (tmp_path / "binary.ply").write_bytes(mesh_files.binary_ply())
    return tmp_path


def color_at(mesh: Mesh, x: float, y: float) -> list[float]:
    """The texture's nearest texel at the vertex position (x, y)."""
    index = int((mesh.vertices[:, :2] - torch.tensor([x, y])).norm(dim=-1).argmin())
    height, width = mesh.material.base_color.shape[:2]
    u, v = mesh.uvs[index].tolist()
    return mesh.material.base_color[min(int(v * height), height - 1), min(int(u * width), width - 1)].tolist()


@pytest.mark.parametrize("name", ["quad.glb", "quad.obj"])
def test_textured_formats(quad_files, name):
    mesh = load_mesh(quad_files / name)
    assert mesh.bounds.tolist() == [[0, 0, 0], [1, 1, 0]] and mesh.faces.shape == (2, 3)
    assert mesh.face_normals().tolist() == [[0, 0, 1], [0, 0, 1]]
    # v = 0 is the top row: the corner at y = 1 shows it.
    assert color_at(mesh, 0, 1) == [1, 0, 0] and color_at(mesh, 1, 1) == [0, 1, 0]
    assert color_at(mesh, 0, 0) == [0, 0, 1] and color_at(mesh, 1, 0) == [1, 1, 1]


def test_gltf_material_and_normals(quad_files):
    mesh = load_mesh(quad_files / "quad.glb")
    assert (mesh.material.metallic, mesh.material.roughness) == (0.25, 0.5)
    assert mesh.normals.tolist() == [[0, 0, 1]] * 4


@pytest.mark.parametrize("name", ["quad.ply", "binary.ply"])
def test_ply_colours(quad_files, name):
    mesh = load_mesh(quad_files / name)
    assert mesh.faces.tolist() == [[0, 1, 2], [0, 2, 3]]
    assert mesh.colors.allclose(torch.tensor([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0.2, 0.2, 0.2]]))


def test_base_colour_factor_is_linear(tmp_path):
    document, binary = mesh_files.quad()
    document["materials"][0]["pbrMetallicRoughness"] = {"baseColorFactor": [0.5, 1, 0, 1]}
    (tmp_path / "a.glb").write_bytes(mesh_files.glb(document, binary))
    mesh = load_mesh(tmp_path / "a.glb")
    assert mesh.colors[0].tolist() == pytest.approx([0.735357, 1, 0], abs=1e-5)  # sRGB of linear 0.5


def test_nodes_move_and_mirror(tmp_path):
    document, binary = mesh_files.quad()
    document["nodes"] = [{"children": [1], "translation": [10, 0, 0]},
                         {"mesh": 0, "scale": [-2, 2, 2], "rotation": [0, 0, math.sqrt(0.5), math.sqrt(0.5)]}]
    (tmp_path / "a.glb").write_bytes(mesh_files.glb(document, binary))
    mesh = load_mesh(tmp_path / "a.glb")
    assert mesh.bounds.flatten().tolist() == pytest.approx([8, -2, 0, 10, 0, 0], abs=1e-6)
    # Mirrored: the front is still at +Z, so the triangles were turned round.
    assert mesh.face_normals().allclose(torch.tensor([0.0, 0, 1]).expand(2, 3), atol=1e-6)
    assert mesh.normals.allclose(torch.tensor([0.0, 0, 1]).expand(4, 3), atol=1e-6)


@pytest.mark.parametrize("mode, faces", [(5, [[0, 1, 2], [1, 3, 2]]), (6, [[0, 1, 2], [0, 2, 3]])])
def test_strips_and_fans(tmp_path, mode, faces):
    document, binary = mesh_files.quad()
    document["meshes"][0]["primitives"][0].update(mode=mode)
    document["meshes"][0]["primitives"][0].pop("indices")
    (tmp_path / "a.glb").write_bytes(mesh_files.glb(document, binary))
    assert load_mesh(tmp_path / "a.glb").faces.tolist() == faces


def test_sparse_accessor(tmp_path):
    document, binary = mesh_files.quad()
    start = len(binary)
    binary += np.array([2, 0], "<u2").tobytes() + np.array([[5, 6, 7]], "<f4").tobytes()
    document["buffers"][0]["byteLength"] = len(binary)
    document["bufferViews"] += [{"buffer": 0, "byteOffset": start, "byteLength": 4},
                                {"buffer": 0, "byteOffset": start + 4, "byteLength": 12}]
    document["accessors"][0]["sparse"] = {"count": 1, "indices": {"bufferView": 5, "componentType": 5123},
                                          "values": {"bufferView": 6}}
    (tmp_path / "a.glb").write_bytes(mesh_files.glb(document, binary))
    assert load_mesh(tmp_path / "a.glb").vertices[2].tolist() == [5, 6, 7]
    document["accessors"][0]["sparse"]["indices"]["byteOffset"] = 2
    binary = binary[:start + 2] + np.array([400], "<u2").tobytes() + binary[start + 4:]
    (tmp_path / "a.glb").write_bytes(mesh_files.glb(document, binary))
    with pytest.raises(InputError, match="sparse"):
        load_mesh(tmp_path / "a.glb")


def shared_buffer(folder, count: int, size: int):
    """A quad whose file lists `count` more buffers of 4 bytes, all in one file of `size` bytes."""
    document, binary = mesh_files.quad()
    (folder / "big.bin").write_bytes(bytes(size))
    document["buffers"] += [{"byteLength": 4, "uri": "big.bin"}] * count
    (folder / "a.glb").write_bytes(mesh_files.glb(document, binary))
    return folder / "a.glb"


def test_of_a_buffer_only_what_it_promises_is_kept(tmp_path):
    path = shared_buffer(tmp_path, 40, 2**21)
    tracemalloc.start()
    try:
        assert len(load_mesh(path).faces) == 2
        assert tracemalloc.get_traced_memory()[1] < 2**23, "not 40 times 2 MiB"
    finally:
        tracemalloc.stop()


def test_accessors_share_their_buffer_view(tmp_path):
    """A view of 2 MiB that 40 primitives use is not copied for each."""
    document, binary = mesh_files.quad()
    binary += bytes(-len(binary) % 4) + mesh_files.CORNERS.tobytes() + bytes(2**21)
    start = len(binary) - 2**21 - mesh_files.CORNERS.nbytes
    document["bufferViews"].append({"buffer": 0, "byteOffset": start, "byteLength": len(binary) - start})
    document["buffers"][0]["byteLength"] = len(binary)
    document["accessors"][1]["bufferView"] = document["accessors"][0]["bufferView"] = 5
    document["meshes"][0]["primitives"] = [{"attributes": {"POSITION": 0, "COLOR_0": 1}, "indices": 3}] * 40
    gltf_path = tmp_path / "a.glb"
    gltf_path.write_bytes(mesh_files.glb(document, binary))
    tracemalloc.start()
    try:
        assert len(load_mesh(gltf_path).faces) == 80
        assert tracemalloc.get_traced_memory()[1] < 2**24, "not 40 times 2 MiB"
    finally:
        tracemalloc.stop()


def without_end(document: dict, what: str) -> dict:
    """The quad, made to hold 40 times as much as its bytes."""
    primitive = document["meshes"][0]["primitives"][0]
    if what == "accessors":
        del document["accessors"][2]["bufferView"]  # zeros, which cost no byte of the file
    if what in ("accessors", "triangles"):
        document["meshes"] += [{"primitives": [primitive]}] * 39  # which no node uses
    if what == "vertices":
        document["nodes"] = [{"mesh": 0}] * 40
        document["scenes"] = [{"nodes": [*range(40)]}]
    if what == "textures":
        document["materials"][0]["pbrMetallicRoughness"]["baseColorFactor"] = [0.5, 0.5, 0.5, 1]
        document["materials"] *= 40
        document["meshes"][0]["primitives"] = [primitive | {"material": index} for index in range(40)]
    return document


@pytest.mark.parametrize("what, module, limit, words", [
    ("accessors", _gltf, "MAX_VALUES", "million numbers, counted as often as they are used; simplify"),
    ("triangles", _gltf_mesh, "MAX_FACES", "with it there are more than 60 triangles; simplify"),
    ("vertices", _gltf_mesh, "MAX_VERTICES", "triangles or 60 vertices; simplify"),
    ("textures", _gltf, "MAX_TEXELS", "the textures have more than .* megapixels; shrink")])
def test_what_a_gltf_holds_in_all_is_limited(tmp_path, monkeypatch, what, module, limit, words):
    document, binary = mesh_files.quad()
    path = tmp_path / "a.glb"
    path.write_bytes(mesh_files.glb(without_end(document, what), binary))
    load_mesh(path)
    monkeypatch.setattr(module, limit, 60)
    with pytest.raises(InputError, match=words):
        load_mesh(path)


def square(shift: float, **attributes) -> Mesh:
    vertices = torch.from_numpy(mesh_files.CORNERS.copy()) + torch.tensor([shift, 0, 0])
    return Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), **attributes)


def test_joined_textures_make_an_atlas():
    uvs = torch.from_numpy(mesh_files.UVS.copy())
    blue = torch.tensor([0.0, 0, 1]).expand(4, 3, 3).clone()
    parts = [square(0, uvs=uvs, material=Material(mesh_files.TEXTURE)), square(2, uvs=uvs, material=Material(blue)),
             square(4, colors=torch.tensor([[0.5, 0.25, 0]]).expand(4, 3))]
    mesh = joined(parts)
    assert mesh.material.base_color.shape == (6 + 8 + 8, 8, 3) and mesh.colors is None
    assert color_at(mesh, 0, 1) == [1, 0, 0] and color_at(mesh, 1, 1) == [0, 1, 0]
    assert color_at(mesh, 2.0, 0) == [0, 0, 1] and color_at(mesh, 4, 0) == [0.5, 0.25, 0]
    assert color_at(mesh, 0, 0) == [0, 0, 1] and color_at(mesh, 1, 0) == [1, 1, 1]
    assert mesh.faces.max() == 11


def test_joined_repeating_textures_become_colours():
    uvs = torch.tensor([[0.25, 1.25], [1.75, 1.25], [1.75, 0.75], [0.25, 0.75]])
    mesh = joined([square(0, uvs=uvs, material=Material(mesh_files.TEXTURE)), square(2)])
    assert mesh.material is None
    assert mesh.colors[:4].tolist() == [[1, 0, 0], [0, 1, 0], [1, 1, 1], [0, 0, 1]]
    assert mesh.colors[4:].tolist() == [[1, 1, 1]] * 4


def test_a_vertex_without_a_face_has_a_normal_of_unit_length():
    mesh = Mesh(torch.cat([torch.eye(3), torch.ones(1, 3)]), torch.tensor([[0, 1, 2]]))
    torch.testing.assert_close(mesh.vertex_normals().norm(dim=1), torch.ones(4))
    expected = torch.from_numpy(vertex_normals(mesh.vertices.double().numpy(), mesh.faces.numpy())).float()
    torch.testing.assert_close(mesh.vertex_normals(), expected)


def test_vertex_normals_of_a_cube_are_its_diagonals():
    corners = torch.tensor([[x, y, z] for x in (0.0, 1) for y in (0.0, 1) for z in (0.0, 1)])
    faces = torch.tensor([[0, 1, 3], [0, 3, 2], [4, 6, 7], [4, 7, 5], [0, 4, 5], [0, 5, 1], [2, 3, 7], [2, 7, 6],
                          [0, 2, 6], [0, 6, 4], [1, 5, 7], [1, 7, 3]])
    normals = Mesh(corners, faces).vertex_normals()
    # Weighted by angle, every corner sees its three sides alike, however they are cut into triangles.
    assert normals.allclose((corners * 2 - 1) / math.sqrt(3), atol=1e-6)


def test_transformed():
    tangents = torch.tensor([[1.0, 0, 0, 1]]).expand(4, 4)
    mesh = square(0, normals=torch.tensor([[0.0, 0, 1]]).expand(4, 3), tangents=tangents)
    matrix = torch.tensor([[2.0, 0, 0, 1], [0, 0, -1, 0], [0, 1, 0, 0], [0, 0, 0, 1]])
    moved = mesh.transformed(matrix)
    assert moved.bounds.tolist() == [[1, 0, 0], [3, 0, 1]]
    assert moved.normals[0].tolist() == [0, -1, 0] and moved.tangents[0].tolist() == [1, 0, 0, 1]
    assert moved.transformed(torch.linalg.inv(matrix)).vertices.allclose(mesh.vertices)
    mirrored = mesh.transformed(torch.diag(torch.tensor([1.0, 1, -1, 1])))
    assert mirrored.face_normals().allclose(mirrored.normals[:2]) and mirrored.tangents[0, 3] == -1
    with pytest.raises(ValueError, match="inverse"):
        mesh.transformed(torch.zeros(4, 4))


def test_methods_of_an_empty_mesh():
    mesh = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.int64))
    assert mesh.face_normals().shape == (0, 3) and mesh.vertex_normals().shape == (0, 3)
    with pytest.raises(ValueError, match="without vertices"):
        mesh.bounds


@pytest.mark.parametrize("suffix", [".glb", ".obj", ".ply"])
def test_save_mesh(tmp_path, quad_files, suffix):
    mesh = load_mesh(quad_files / ("quad.ply" if suffix == ".ply" else "quad.glb"))
    save_mesh(mesh, tmp_path / f"out{suffix}")
    again = load_mesh(tmp_path / f"out{suffix}")
    assert again.bounds.tolist() == mesh.bounds.tolist() and len(again.faces) == 2
    if suffix == ".ply":
        assert again.colors.allclose(mesh.colors)
    else:
        assert color_at(again, 0, 1) == [1, 0, 0] and color_at(again, 1, 0) == [1, 1, 1]


@pytest.mark.parametrize("name, parts, faces, size", [
    ("textured_glb/armchair.glb", 3, 18400, (111.7726, 85.5498, 96.3418)),
    ("textured_glb/fox.glb", 1, 576, (25.18, 79.03, 154.72)),
    ("textured_glb/kaykit_chest.glb", 2, 728, (1.7, 1.3, 1.4462)),
    ("textured_glb/spot_cow.glb", 1, 5856, (0.9444, 1.6913, 1.7183)),
    ("obj_textured/spot/cow.obj", 1, 5856, (0.9444, 1.6913, 1.7183)),
    ("obj_textured/pizza/pizza.obj", 2, 960, (2, 0.32, 2)),
    ("geometry/cycloidal.ply", 1, 43368, (1.8752, 1.8753, 1.1070)),
    ("geometry/torus.obj", 1, 4608, (2.5, 0.5, 2.5)),
])
def test_real_meshes(name, parts, faces, size):
    path = shared("data", "meshes", name)
    meshes, _ = load_parts(path)
    mesh = joined(meshes)
    assert len(meshes) == parts and len(mesh.faces) == faces
    assert (mesh.bounds[1] - mesh.bounds[0]).tolist() == pytest.approx(size, rel=2e-3)
    textured = "textured" in name
    assert (mesh.material is not None and mesh.material.base_color is not None) == textured


def test_same_surface_from_glb_and_obj():
    """The cow comes as GLB and as OBJ, whose textures run the other way: colours must agree."""
    glb = load_mesh(shared("data", "meshes", "textured_glb/spot_cow.glb"))
    obj = load_mesh(shared("data", "meshes", "obj_textured/spot/cow.obj"))
    order = lambda m: np.lexsort(np.round(m.vertices.numpy(), 4).T)
    i, j = order(glb), order(obj)
    assert glb.vertices[i].allclose(obj.vertices[j], atol=1e-4)
    from asset3d.scene.mesh import _colored
    assert (_colored(glb).colors[i] - _colored(obj).colors[j]).abs().mean() < 0.02
