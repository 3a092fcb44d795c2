"""Coarser versions of a textured mesh, each with a smaller texture of its own baked from the finest.

A level does not share the texture of the finest: its faces would have to keep every seam of it, and at an eighth of
the faces little but seams would be left. Letters: H rows, W columns, T covered texels.
"""
from dataclasses import replace

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.errors import InputError
from asset3d.scene.decimate import decimate
from asset3d.scene.material import Material
from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_cleanup import arrays, remove_unreferenced
from asset3d.scene.mesh_topology import face_normals
from asset3d.scene.nearest import NearestOnSurface
from asset3d.scene.normal_map import in_tangent_space
from asset3d.scene.tangents import with_tangents
from asset3d.scene.texels import fill_outside, texel_map
from asset3d.scene.unwrap import unwrap

SMALLEST_TEXTURE = 64


def detail_level(mesh: Mesh, level: int) -> Mesh:
    """The mesh with 2^-level of its faces, and, where it has textures, textures of 2^-level of their side.

    Args:
        mesh: Level 0, with all that its material needs (uvs; normals and tangents for a normal map).
        level: 0 gives the mesh itself.

    Raises:
        InputError: the level is negative.
    """
    if level < 0:
        raise InputError(f"detail_level: level must be at least 0, got {level}")
    if level == 0:
        return mesh
    coarse = decimate(welded(mesh), max(4, len(mesh.faces) >> level))
    material = mesh.material
    if mesh.uvs is None or material is None or (material.base_color is None and material.normal_map is None):
        return coarse
    size = max((x.shape[0] for x in (material.base_color, material.normal_map) if x is not None))
    size = max(SMALLEST_TEXTURE, size >> level)
    coarse = with_tangents(unwrap(coarse, size, padding=2)[0])
    return replace(coarse, material=_transferred(mesh, coarse, size))


def welded(mesh: Mesh) -> Mesh:
    """The surface of a mesh without its seams: one vertex per position, and no attributes but colours."""
    _, first, index = np.unique(mesh.vertices.detach().cpu().numpy(), axis=0, return_index=True, return_inverse=True)
    order = np.argsort(first)  # keeps the order in which positions come
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    keep = torch.from_numpy(first[order]).to(mesh.vertices.device)
    faces = torch.from_numpy(rank[index.reshape(-1)]).to(mesh.faces.device)[mesh.faces]
    colors = None if mesh.colors is None else mesh.colors[keep]
    return remove_unreferenced(Mesh(mesh.vertices[keep], faces, colors=colors, material=mesh.material))[0]


def _transferred(fine: Mesh, coarse: Mesh, size: int) -> Material:
    """The fine mesh's material as textures of the coarse one: a texel takes what the nearest fine point has."""
    texels = texel_map(coarse, size, size)
    vertices, faces = arrays(coarse)
    position, side = texels.interpolate(vertices, faces), face_normals(vertices, faces)[0][texels.face]
    surface = NearestOnSurface(fine)
    found, face, weights = surface(position, side)
    uv = surface.at(fine.uvs.detach().cpu().double().numpy(), face, weights)
    mask = torch.from_numpy(texels.mask()) & torch.from_numpy(texels.image(found[:, None])[..., 0])
    paint = lambda values: fill_outside(torch.from_numpy(texels.image(values)), mask).float().to(coarse.vertices.device)
    old, out = fine.material, replace(fine.material, base_color=None, normal_map=None)
    if old.base_color is not None:
        out = replace(out, base_color=paint(_sampled(old.base_color, uv)))
    if old.normal_map is not None:
        world = _shading_normals(fine, surface, face, weights, _sampled(old.normal_map, uv) * 2 - 1)
        local = in_tangent_space(world, *(texels.interpolate(x.detach().cpu().double().numpy(), faces)
                                          for x in (coarse.normals, coarse.tangents)))
        out = replace(out, normal_map=paint(local / 2 + 0.5).clamp(0, 1))
    return out


def _sampled(texture: Float[Tensor, "H W 3"], uv: np.ndarray) -> np.ndarray:
    """(T, 3) bilinear samples."""
    grid = torch.from_numpy(uv * 2 - 1)[None, None]
    image = texture.detach().cpu().double().permute(2, 0, 1)[None]
    return torch.nn.functional.grid_sample(image, grid, padding_mode="border", align_corners=False)[0, :, 0].T.numpy()


def _shading_normals(mesh: Mesh, surface: NearestOnSurface, face, weights, local) -> np.ndarray:
    """(T, 3) unit normals that a shader sees on the mesh with its normal map's local (T, 3) normals."""
    at = lambda attribute: surface.at(attribute.detach().cpu().double().numpy(), face, weights)
    normal, tangent = at(mesh.normals), at(mesh.tangents)
    bitangent = np.sign(tangent[:, 3:]) * np.cross(normal, tangent[:, :3])
    world = local[:, :1] * tangent[:, :3] + local[:, 1:2] * bitangent + local[:, 2:] * normal
    return world / np.maximum(np.linalg.norm(world, axis=1, keepdims=True), 1e-12)
