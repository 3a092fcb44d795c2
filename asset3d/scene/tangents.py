"""Tangents as Mikkelsen's MikkTSpace defines them, so that a baked normal map looks the same in every engine.

Written from the description in "Simulation of Wrinkled Surfaces Revisited" (M. S. Mikkelsen, 2008) and the published
rules: per triangle the direction in which u grows; per vertex the mean over the fan of triangles of one handedness,
projected onto the tangent plane and weighted by the corner's angle. Letters: V vertices, F faces.
"""
from dataclasses import replace

import numpy as np
import torch

from asset3d.errors import InputError
from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_cleanup import arrays, take_vertices
from asset3d.scene.mesh_topology import corner_fans, edge_table, half_edges, smooth_normals, split_vertices


def with_tangents(mesh: Mesh) -> Mesh:
    """The mesh with tangents (and normals, where it had none), with w = +1 where the texture is not mirrored.

    Vertices between triangles of both handedness, or of separate fans, are duplicated. The bitangent is
    w * cross(normal, tangent) and points up in the texture (toward smaller v), as glTF's normal maps want.

    Raises:
        InputError: the mesh has no texture coordinates.
    """
    if mesh.uvs is None:
        raise InputError("with_tangents: the mesh has no texture coordinates; unwrap it first")
    vertices, faces = arrays(mesh)
    if mesh.normals is None:
        mesh = replace(mesh, normals=torch.from_numpy(smooth_normals(vertices, faces)).to(mesh.vertices))
    normals, uvs = mesh.normals.detach().cpu().double().numpy(), mesh.uvs.detach().cpu().double().numpy()
    corner, fan = _corner_tangents(vertices, normals, uvs, faces)
    split, source = split_vertices(faces, fan, len(vertices))
    tangents = np.tile([1.0, 0.0, 0.0, 1.0], (len(source), 1))
    tangents[split.reshape(-1)] = corner.reshape(-1, 4)
    out = take_vertices(replace(mesh, tangents=None), torch.from_numpy(source).to(mesh.faces.device),
                        torch.from_numpy(split).to(mesh.faces.device))
    return replace(out, tangents=torch.from_numpy(tangents).to(mesh.vertices))


def _corner_tangents(vertices, normals, uvs, faces) -> tuple[np.ndarray, np.ndarray]:
    """(F, 3, 4) tangents, and (F, 3) the fan that each corner belongs to."""
    _, welded = np.unique(np.concatenate([vertices, normals, uvs], 1), axis=0, return_inverse=True)
    joined = welded.reshape(-1)[faces]
    along_u, upright, flat = _face_tangents(vertices[faces], uvs[faces])
    whole = (joined != np.roll(joined, 1, axis=1)).all(1)
    pairs = _opposite_pairs(joined, whole)
    upright = _borrowed(upright, flat, pairs)
    fan = corner_fans(joined, pairs[upright[pairs[:, 0] // 3] == upright[pairs[:, 1] // 3]])
    weight = np.where((flat | ~whole)[:, None], 0, _projected_angles(vertices, normals, faces))
    normal = normals[faces]
    across = _unit(along_u[:, None] - (along_u[:, None] * normal).sum(-1, keepdims=True) * normal)
    weighted = (across * weight[..., None]).reshape(-1, 3)
    total = np.stack([np.bincount(fan, weighted[:, k]) for k in range(3)], -1)[fan].reshape(-1, 3, 3)
    tangent = np.where((np.linalg.norm(total, axis=-1, keepdims=True) > 1e-12), _unit(total), _any_tangent(normal))
    sign = np.broadcast_to(np.where(upright, 1.0, -1.0)[:, None, None], (len(faces), 3, 1))
    return np.concatenate([tangent, sign], -1), fan.reshape(-1, 3)


def _face_tangents(corner, uv) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Unit directions (F, 3) in which u grows, (F,) not mirrored, and (F,) whether u has no direction."""
    a, b = corner[:, 1] - corner[:, 0], corner[:, 2] - corner[:, 0]
    (ua, va), (ub, vb) = (uv[:, 1] - uv[:, 0]).T, (uv[:, 2] - uv[:, 0]).T
    va, vb = -va, -vb  # the rules are for v growing upward
    area = ua * vb - va * ub
    direction = vb[:, None] * a - va[:, None] * b
    direction *= np.where(area > 0, 1, -1)[:, None]
    flat = (np.abs(area) < 1e-14) | (np.linalg.norm(direction, axis=1) < 1e-30)
    return _unit(direction), area > 0, flat


def _opposite_pairs(faces: np.ndarray, whole: np.ndarray) -> np.ndarray:
    """Pairs of half-edges of whole faces that run against each other along an edge that no third face uses."""
    pairs, ends = edge_table(faces).pairs(), half_edges(faces)
    against = ends[pairs[:, 0], 0] == ends[pairs[:, 1], 1]
    return pairs[against & whole[pairs // 3].all(1)]


def _borrowed(upright, flat, pairs) -> np.ndarray:
    """Handedness (F,); faces without one of their own take a neighbour's, so that they do not part a fan."""
    upright, flat = upright.copy(), flat.copy()
    for _ in range(8):
        a, b = np.concatenate([pairs, pairs[:, ::-1]]).T // 3
        give = flat[a] & ~flat[b]
        if not give.any():
            break
        upright[a[give]] = upright[b[give]]
        flat[a[give]] = False
    return upright


def _projected_angles(vertices, normals, faces) -> np.ndarray:
    """(F, 3) angle of each corner as seen along the normal of its vertex."""
    corner, normal = vertices[faces], normals[faces]
    flatten = lambda edge: _unit(edge - (edge * normal).sum(-1, keepdims=True) * normal)
    ahead, behind = flatten(np.roll(corner, -1, axis=1) - corner), flatten(np.roll(corner, 1, axis=1) - corner)
    return np.arccos(np.clip((ahead * behind).sum(-1), -1, 1))


def _any_tangent(normal: np.ndarray) -> np.ndarray:
    """A unit vector across each normal (..., 3), for corners whose texture has no direction."""
    helper = np.where(np.abs(normal[..., :1]) < 0.9, [1.0, 0.0, 0.0], [0.0, 1.0, 0.0])
    return _unit(helper - (helper * normal).sum(-1, keepdims=True) * normal)


def _unit(x: np.ndarray) -> np.ndarray:
    return x / np.maximum(np.linalg.norm(x, axis=-1, keepdims=True), 1e-300)
