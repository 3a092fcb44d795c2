"""Better shaped triangles for the same surface: vertices slide along it toward the middle of their neighbours."""
from dataclasses import replace

import numpy as np
import torch

from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_cleanup import arrays
from asset3d.scene.mesh_topology import EdgeTable, edge_table, face_normals, vertex_normals

FLAT = 0.85
"""Vertices slide where all their faces look the same way within acos(FLAT) = 32 degrees: creases and borders stay."""
TURN = 0.3
"""A slide that turns a face further than acos(TURN) = 73 degrees, or over, is taken back."""


def relax(mesh: Mesh, rounds: int) -> Mesh:
    """Slide vertices within the tangent plane, half of the way to the mean of their neighbours in every round.

    Marching tetrahedra and edge collapses leave slivers, whose share of a texture is less than a texel. Curved surfaces
    lose a little: a slide by d on a radius R leaves the surface by d^2 / 2R.

    Args:
        mesh: Any mesh; attributes but vertices and normals stay as they are.
        rounds: How often every vertex slides.
    """
    vertices, faces = arrays(mesh)
    if not len(faces):
        return mesh
    table = edge_table(faces)
    border = np.zeros(len(vertices), bool)
    border[table.edges[table.count != 2]] = True
    for _ in range(rounds):
        vertices = _slide(vertices, faces, table, border)
    as_tensor = lambda x: torch.from_numpy(x).to(mesh.vertices)
    return replace(mesh, vertices=as_tensor(vertices), normals=as_tensor(vertex_normals(vertices, faces)))


def _slide(vertices: np.ndarray, faces: np.ndarray, table: EdgeTable, border: np.ndarray) -> np.ndarray:
    normals, area = face_normals(vertices, faces)
    around = vertex_normals(vertices, faces)
    agreement = np.where(area[:, None] > 0, (normals[:, None] * around[faces]).sum(-1), 1.0)
    least = np.ones(len(vertices))
    np.minimum.at(least, faces.reshape(-1), agreement.reshape(-1))
    step = 0.5 * (_mean_of_neighbours(vertices, table) - vertices)
    step -= (step * around).sum(1, keepdims=True) * around
    step[border | (least < FLAT)] = 0
    for _ in range(3):  # a vertex that stays may make a neighbour's face turn
        turned = ((face_normals(vertices + step, faces)[0] * normals).sum(1) < TURN) & (area > 0)
        step[faces[turned]] = 0
    return vertices + step


def _mean_of_neighbours(vertices: np.ndarray, table: EdgeTable) -> np.ndarray:
    a, b = table.edges.T
    n = len(vertices)
    total = np.stack([np.bincount(a, vertices[b, k], n) + np.bincount(b, vertices[a, k], n) for k in range(3)], -1)
    return total / np.maximum(np.bincount(table.edges.reshape(-1), minlength=n), 1)[:, None]
