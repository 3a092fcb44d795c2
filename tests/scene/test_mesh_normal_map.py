"""A baked normal map gives the low mesh the dense one's shading."""
import numpy as np
import pytest
import torch
from mesh_shapes import as_mesh, box, grid_torus, thin_sheet

from asset3d.errors import InputError
from asset3d.scene.decimate import decimate
from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_topology import face_normals, vertex_normals
from asset3d.scene.nearest import closest_weights
from asset3d.scene.normal_map import bake_normal_map
from asset3d.scene.tangents import with_tangents
from asset3d.scene.texels import fill_outside, texel_map
from asset3d.scene.unwrap import unwrap


def shaded(mesh, normal_map):
    """World positions, normals with the map as a shader computes them, and without, each (T, 3); and faces (T,)."""
    size = normal_map.shape[0]
    texels, faces = texel_map(mesh, size, size), mesh.faces.numpy()
    at = lambda x: texels.interpolate(x.double().numpy(), faces)
    normal, tangent = at(mesh.normals), at(mesh.tangents)
    local = normal_map.double().numpy()[texels.row, texels.column] * 2 - 1
    bitangent = np.sign(tangent[:, 3:]) * np.cross(normal, tangent[:, :3])
    world = local[:, :1] * tangent[:, :3] + local[:, 1:2] * bitangent + local[:, 2:] * normal
    return at(mesh.vertices), world / np.linalg.norm(world, axis=1, keepdims=True), normal, texels.face


def test_torus_of_few_faces_shades_like_the_exact_one():
    dense = grid_torus(160, 80)
    mesh = with_tangents(unwrap(decimate(dense, 300), 256)[0])
    normal_map, covered = bake_normal_map(mesh, dense, 256)
    position, shading, plain, _ = shaded(mesh, normal_map)
    ring = position * [1, 0, 1]
    exact = position - ring / np.linalg.norm(ring, axis=1, keepdims=True) * 0.35
    exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    plain = plain / np.linalg.norm(plain, axis=1, keepdims=True)
    error = lambda n: np.degrees(np.arccos(np.clip((n * exact).sum(1), -1, 1)))
    assert error(shading).mean() < 0.6 < 1.5 < error(plain).mean()
    assert covered.sum() == len(position)
    assert normal_map.min() >= 0 and normal_map.max() <= 1


def test_thin_wall_takes_its_own_side():
    """Half as thick as a texel: every normal is that of the own side, so the map is flat away from the rim."""
    dense = thin_sheet(40, thickness=0.002)
    mesh = with_tangents(unwrap(decimate(dense, 100), 256)[0])
    position, shading, _, face = shaded(mesh, bake_normal_map(mesh, dense, 256)[0])
    side = face_normals(mesh.vertices.double().numpy(), mesh.faces.numpy())[0][face]
    inner = (np.abs(position[:, :2]) < 0.45).all(1) & (np.abs(side[:, 2]) > 0.99)
    assert (side[inner, 2] > 0).sum() > 1000 < (side[inner, 2] < 0).sum()
    assert (shading[inner, 2] * side[inner, 2]).min() > 0.99


def test_flat_where_the_dense_surface_is_away():
    vertices, faces = box()
    mesh = with_tangents(unwrap(as_mesh(vertices, faces), 64, 2)[0])
    far = as_mesh(*box((5, 0, 0)))
    normal_map, covered = bake_normal_map(mesh, far, 64)
    assert not covered.any() and torch.equal(normal_map, torch.tensor([0.5, 0.5, 1.0]).expand(64, 64, 3))


def test_large_dense_triangles_are_found():
    """A cube of 12 faces as the dense surface of a cube: exact face normals come back through smooth vertex normals."""
    vertices, faces = box()
    corner = torch.tensor(vertices[faces].reshape(-1, 3), dtype=torch.float32)
    normals = np.repeat(np.cross(*np.moveaxis(np.diff(vertices[faces], axis=1), 1, 0)), 3, axis=0)
    hard = Mesh(corner, torch.arange(36).reshape(-1, 3), torch.tensor(normals, dtype=torch.float32))
    smooth = as_mesh(vertices, faces)
    smooth.normals = torch.from_numpy(vertex_normals(vertices, faces)).float()
    mesh = with_tangents(unwrap(smooth, 128, 2)[0])
    _, shading, _, face = shaded(mesh, bake_normal_map(mesh, hard, 128)[0])
    assert (shading * face_normals(mesh.vertices.numpy(), mesh.faces.numpy())[0][face]).sum(1).min() > 0.999


def test_texel_map_is_exact():
    mesh = Mesh(torch.eye(3), torch.tensor([[0, 1, 2]]), uvs=torch.tensor([[0.1, 0.2], [0.9, 0.3], [0.4, 0.95]]))
    texels = texel_map(mesh, 40, 30)
    x, y = np.meshgrid((np.arange(30) + 0.5) / 30, (np.arange(40) + 0.5) / 40)
    corner = mesh.uvs.double().numpy()
    edges = [(b[0] - a[0]) * (y - a[1]) - (b[1] - a[1]) * (x - a[0]) for a, b in zip(corner, np.roll(corner, -1, 0))]
    assert np.array_equal(texels.mask(), np.all([e >= 0 for e in edges], axis=0))
    uv = texels.interpolate(corner, mesh.faces.numpy())
    assert np.allclose(uv, np.stack([x[texels.row, texels.column], y[texels.row, texels.column]], -1))


def test_closest_weights_against_samples():
    generator = np.random.default_rng(0)
    corner, point = generator.standard_normal((50, 3, 3)), 2 * generator.standard_normal((50, 3))
    nearest = (closest_weights(corner, point)[..., None] * corner).sum(1)
    grid = np.stack(np.meshgrid(np.linspace(0, 1, 200), np.linspace(0, 1, 200)), -1).reshape(-1, 2)
    grid = grid[grid.sum(1) <= 1]
    weights = np.concatenate([1 - grid.sum(1, keepdims=True), grid], 1)
    brute = np.linalg.norm(np.einsum("sk,tkd->tsd", weights, corner) - point[:, None], axis=-1).min(1)
    distance = np.linalg.norm(nearest - point, axis=1)
    assert (distance <= brute + 1e-12).all() and (distance >= brute - 0.02).all()


def test_dilation_fills_everything_with_the_nearest():
    texture, mask = torch.zeros(16, 16, 1), torch.zeros(16, 16, dtype=torch.bool)
    texture[4, 4], texture[12, 12] = 1, 2
    mask[4, 4] = mask[12, 12] = True
    out = fill_outside(texture, mask)
    row, column = torch.meshgrid(torch.arange(16), torch.arange(16), indexing="ij")
    first = (row - 4) ** 2 + (column - 4) ** 2 < (row - 12) ** 2 + (column - 12) ** 2
    second = (row - 4) ** 2 + (column - 4) ** 2 > (row - 12) ** 2 + (column - 12) ** 2
    assert (out[first] == 1).all() and (out[second] == 2).all()
    assert torch.equal(fill_outside(texture, torch.zeros_like(mask)), texture)


def test_refuses_a_mesh_without_tangents():
    with pytest.raises(InputError, match="no tangents"):
        bake_normal_map(unwrap(decimate(grid_torus(8, 6)), 64, 2)[0], grid_torus(8, 6), 64)
