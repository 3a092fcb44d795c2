"""Coarser levels look like the finest one."""
import numpy as np
import pytest
import torch
from mesh_shapes import as_mesh, box, grid_torus

from asset3d.errors import InputError
from asset3d.scene.decimate import decimate
from asset3d.scene.detail_levels import detail_level, welded
from asset3d.scene.material import Material
from asset3d.scene.normal_map import bake_normal_map
from asset3d.scene.tangents import with_tangents
from asset3d.scene.texels import fill_outside, texel_map
from asset3d.scene.unwrap import unwrap


@pytest.fixture(scope="module")
def asset():
    dense = grid_torus(96, 48)
    mesh = with_tangents(unwrap(decimate(dense, 1200), 256)[0])
    texels = texel_map(mesh, 256, 256)
    color = texels.image(texels.interpolate(mesh.vertices.double().numpy() + 0.5, mesh.faces.numpy()))
    color = fill_outside(torch.from_numpy(color).float(), torch.from_numpy(texels.mask()))
    mesh.material = Material(color, bake_normal_map(mesh, dense, 256)[0])
    return mesh


@pytest.mark.parametrize("level", [1, 2])
def test_faces_textures_and_colours(asset, level):
    coarse = detail_level(asset, level)
    assert len(coarse.faces) <= len(asset.faces) >> level and len(coarse.faces) > (len(asset.faces) >> level) * 0.95
    size = 256 >> level
    assert coarse.material.base_color.shape == coarse.material.normal_map.shape == (size, size, 3)
    texels = texel_map(coarse, size, size)
    position = texels.interpolate(coarse.vertices.double().numpy(), coarse.faces.numpy())
    painted = coarse.material.base_color.numpy()[texels.row, texels.column]
    error = np.abs(painted - position - 0.5).max(1)
    assert np.quantile(error, 0.99) < 0.03 and error.mean() < 0.01


def test_normal_maps_hide_the_coarseness(asset):
    coarse = detail_level(asset, 2)
    size = coarse.material.normal_map.shape[0]
    texels, faces = texel_map(coarse, size, size), coarse.faces.numpy()
    at = lambda x: texels.interpolate(x.double().numpy(), faces)
    local = coarse.material.normal_map.double().numpy()[texels.row, texels.column] * 2 - 1
    normal, tangent = at(coarse.normals), at(coarse.tangents)
    bitangent = np.sign(tangent[:, 3:]) * np.cross(normal, tangent[:, :3])
    world = local[:, :1] * tangent[:, :3] + local[:, 1:2] * bitangent + local[:, 2:] * normal
    position = at(coarse.vertices)
    ring = position * [1, 0, 1]
    exact = position - 0.35 * ring / np.linalg.norm(ring, axis=1, keepdims=True)
    angle = lambda a, b: np.degrees(np.arccos(np.clip(
        (a * b).sum(1) / np.linalg.norm(a, axis=1) / np.linalg.norm(b, axis=1), -1, 1))).mean()
    assert angle(world, exact) < 1.5 < angle(normal, exact)


def test_without_textures_only_geometry():
    level = detail_level(grid_torus(40, 20), 1)
    assert level.uvs is None and len(level.faces) <= 800


def test_welding_removes_seams(asset):
    joined = welded(asset)
    assert len(joined.vertices) - 3 * len(joined.faces) // 2 + len(joined.faces) == 0  # a closed torus again
    assert torch.equal(joined.vertices[joined.faces], asset.vertices[asset.faces])


def test_refuses_negative_levels():
    with pytest.raises(InputError, match="at least 0, got -1"):
        detail_level(as_mesh(*box()), -1)
