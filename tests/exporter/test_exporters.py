"""Files say what the mesh was: bounds, colours where they belong, axes, the same bytes every time."""
import io
import json
import struct

import numpy as np
import pytest
import torch
from mesh_shapes import as_mesh, box, grid_torus
from node_tools import validate_gltf

from asset3d.errors import InputError
from asset3d.exporter.base import image_bytes, in_world
from asset3d.exporter.gltf import Gltf, GltfConfig
from asset3d.exporter.obj import Obj, ObjConfig
from asset3d.exporter.ply import Ply, PlyConfig
from asset3d.scene.conventions import WORLDS
from asset3d.scene.decimate import decimate
from asset3d.scene.image import encode_png, to_bytes
from asset3d.scene.material import Material
from asset3d.scene.mesh import Mesh, load_mesh, save_mesh
from asset3d.scene.normal_map import bake_normal_map
from asset3d.scene.tangents import with_tangents
from asset3d.scene.texels import fill_outside, texel_map
from asset3d.scene.unwrap import unwrap

EXPORTERS = {"gltf": (Gltf, GltfConfig, "glb"), "obj": (Obj, ObjConfig, "obj"), "ply": (Ply, PlyConfig, "ply")}


def painted(position):
    """A colour that tells every place from every other one."""
    return position / 1.0 + 0.5


@pytest.fixture(scope="module")
def asset():
    """A torus whose base colour at each point is its position, with a normal map baked from a finer one."""
    mesh = with_tangents(unwrap(decimate(grid_torus(80, 40), 600), 256)[0])
    texels = texel_map(mesh, 256, 256)
    color = texels.image(painted(texels.interpolate(mesh.vertices.double().numpy(), mesh.faces.numpy())))
    color = fill_outside(torch.from_numpy(color).float(), torch.from_numpy(texels.mask()))
    normal_map, _ = bake_normal_map(mesh, grid_torus(80, 40), 256)
    mesh.material = Material(color, normal_map, metallic=0.0, roughness=0.8)
    return mesh


def export(kind, mesh, folder, **options):
    cls, config, _ = EXPORTERS[kind]
    return cls(config(**options)).export(mesh, folder)


def load(path):
    import trimesh
    return trimesh.load(path, force="mesh", process=False)


def colors_seen(loaded, weights):
    """Positions and colours, as trimesh understands the file, at one point of each face."""
    uv = np.einsum("k,fkd->fd", weights, loaded.visual.uv[loaded.faces])
    material = loaded.visual.material
    image = np.asarray((getattr(material, "baseColorTexture", None) or material.image).convert("RGB"), float) / 255
    height, width = image.shape[:2]
    x, y = (uv[:, 0] * width).astype(int), ((1 - uv[:, 1]) * height).astype(int)
    return np.einsum("k,fkd->fd", weights, loaded.vertices[loaded.faces]), image[y, x]


@pytest.mark.parametrize("kind", ["gltf", "obj"])
def test_bounds_and_colours_come_back(asset, tmp_path, kind):
    loaded = load(export(kind, asset, tmp_path)[0])
    assert np.allclose(loaded.bounds, [asset.vertices.amin(0), asset.vertices.amax(0)], atol=1e-7)
    assert len(loaded.faces) == len(asset.faces)
    for weights in ([1 / 3, 1 / 3, 1 / 3], [0.6, 0.2, 0.2]):
        position, color = colors_seen(loaded, np.array(weights))
        assert np.abs(color - painted(position)).max() < 0.02  # a texel and 8 bits


def test_gltf_passes_khronos_validator(asset, tmp_path):
    plain = as_mesh(*box())
    colored = as_mesh(*box(), colors=torch.rand(8, 3, generator=torch.Generator().manual_seed(0)))
    untangent = Mesh(asset.vertices, asset.faces, None, asset.uvs, material=asset.material)
    paths = [export("gltf", mesh, tmp_path / str(k), **options)[0] for k, (mesh, options) in enumerate(
        [(asset, {}), (asset, {"base_color": "jpeg", "double_sided": True}), (plain, {}), (colored, {}),
         (untangent, {}), (as_mesh(*box((1e6, 0, 0))), {})])]
    for report in validate_gltf(*paths):
        assert [report[k] for k in ("numErrors", "numWarnings", "numInfos", "numHints")] == [0] * 4, report["messages"]


def test_gltf_says_what_it_should(asset, tmp_path):
    data = export("gltf", asset, tmp_path)[0].read_bytes()
    length = struct.unpack("<I", data[12:16])[0]
    document = json.loads(data[20:20 + length])
    assert document["asset"] == {"version": "2.0", "generator": "asset3d"}
    surface = document["materials"][0]["pbrMetallicRoughness"]
    assert surface["metallicFactor"] == 0 and surface["roughnessFactor"] == 0.8
    assert set(document["meshes"][0]["primitives"][0]["attributes"]) == {"POSITION", "NORMAL", "TANGENT", "TEXCOORD_0"}
    assert [image["mimeType"] for image in document["images"]] == ["image/png"] * 2
    assert document["accessors"][0]["min"] == asset.vertices.amin(0).double().tolist()


def test_every_writer_rounds_colours_alike(tmp_path):
    """Halves go up: exporters, previews and meshes for inspection store the same bytes."""
    from PIL import Image
    halves = (torch.arange(255) + 0.5)[None, :, None].expand(1, 255, 3) / 255
    exact = to_bytes(halves)
    assert image_bytes(halves) == encode_png(halves)
    assert (np.asarray(Image.open(io.BytesIO(image_bytes(halves)))) == exact).all()
    triangle = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), colors=halves[0, :3])
    save_mesh(triangle, tmp_path / "a.ply")
    Ply(PlyConfig()).export(triangle, tmp_path, "b")
    for file in ("a.ply", "b.ply"):
        assert (to_bytes(load_mesh(tmp_path / file).colors) == exact[0, :3]).all()


def test_gltf_vertex_colours_are_linear(tmp_path):
    mesh = as_mesh(*box(), colors=torch.full((8, 3), 0.5))
    data = export("gltf", mesh, tmp_path)[0].read_bytes()
    start = 20 + struct.unpack("<I", data[12:16])[0] + 8
    document = json.loads(data[20:start - 8])
    accessor = document["accessors"][document["meshes"][0]["primitives"][0]["attributes"]["COLOR_0"]]
    offset = start + document["bufferViews"][accessor["bufferView"]]["byteOffset"]
    assert np.allclose(np.frombuffer(data[offset:offset + 96], "<f4"), 0.21404114, atol=1e-7)


def test_gltf_index_sizes(tmp_path):
    big = grid_torus(300, 220)
    loaded = load(export("gltf", big, tmp_path)[0])
    assert np.array_equal(loaded.faces, big.faces.numpy())


def test_obj_names_its_files(asset, tmp_path):
    names = [path.name for path in export("obj", asset, tmp_path)]
    assert names == ["asset.obj", "asset.png", "asset_normal.png", "asset.mtl"]
    material = (tmp_path / "asset.mtl").read_text()
    assert "map_Kd asset.png" in material and "norm asset_normal.png" in material and "Pr 0.8" in material
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)


def test_ply_colours_and_geometry(asset, tmp_path):
    loaded = load(export("ply", asset, tmp_path)[0])
    assert np.allclose(loaded.vertices, asset.vertices) and np.array_equal(loaded.faces, asset.faces)
    colors = loaded.visual.to_color().vertex_colors if loaded.visual.kind == "texture" else loaded.visual.vertex_colors
    inner = np.abs(colors[:, :3] / 255 - painted(loaded.vertices)).max(1) < 0.03
    assert inner.mean() > 0.99
    assert b"comment TextureFile asset_ply.png" in (tmp_path / "asset.ply").read_bytes()
    assert b"red" not in export("ply", asset, tmp_path, colors=False)[0].read_bytes().split(b"end_header")[0]


@pytest.mark.parametrize("axes", sorted(WORLDS))
@pytest.mark.parametrize("kind", ["obj", "ply"])
def test_axes_round_trip(asset, tmp_path, kind, axes):
    """What a program reads as its own coordinates is the asset again once it is converted back."""
    world, loaded = WORLDS[axes], load(export(kind, asset, tmp_path, axes=axes)[0])
    assert np.allclose(world.to_ours(loaded.vertices), asset.vertices, atol=1e-6)
    assert loaded.volume > 0  # counter-clockwise seen from outside, in a mirrored world too
    size = asset.vertices.amax(0) - asset.vertices.amin(0)
    assert loaded.extents.max() == pytest.approx(float(size.max()) * world.units_per_metre)
    moved = in_world(asset, axes)
    assert torch.allclose((moved.normals * moved.tangents[:, :3]).sum(1), torch.zeros(len(moved.normals)), atol=1e-5)
    bitangent = lambda mesh: torch.linalg.cross(mesh.normals, mesh.tangents[:, :3]) * mesh.tangents[:, 3:]
    expected = torch.from_numpy(world.directions_from_ours(bitangent(asset).double().numpy())).float()
    assert torch.allclose(bitangent(moved), expected, atol=1e-6)


@pytest.mark.parametrize("kind", EXPORTERS)
def test_same_bytes_and_nothing_else(asset, tmp_path, kind):
    first, second = ([p.read_bytes() for p in export(kind, asset, tmp_path / str(k))] for k in range(2))
    assert first == second
    assert not [p for p in (tmp_path / "0").iterdir() if p.name.startswith(".")]


@pytest.mark.parametrize("kind", EXPORTERS)
def test_refusals(tmp_path, kind):
    vertices, faces = box()
    broken = {
        "no faces": as_mesh(vertices, faces[:0]),
        r"in \[0, 8\), got 0 to 8": as_mesh(vertices, faces + 1),
        "`vertices` must hold 8 finite rows": as_mesh(np.where(vertices > 0, np.nan, vertices), faces),
        "`uvs` must hold 8 finite rows": as_mesh(vertices, faces, uvs=torch.zeros(7, 2)),
    }
    for message, mesh in broken.items():
        with pytest.raises(InputError, match=message.replace("got 0 to 8", "got [01] to 8")):
            export(kind, mesh, tmp_path)
    assert not list(tmp_path.iterdir())
