"""Sliding vertices along the surface: shapes stay, triangles get better."""
import numpy as np
import torch

from asset3d.ops.marching_tets import marching_tets_dense
from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_cleanup import arrays
from asset3d.scene.mesh_topology import face_normals
from asset3d.scene.relax import relax


def quality(mesh: Mesh) -> np.ndarray:
    """1 for an equilateral triangle, 0 for one without an area."""
    vertices, faces = arrays(mesh)
    corners = vertices[faces]
    squares = ((corners - np.roll(corners, 1, 1)) ** 2).sum((1, 2))
    return 4 * 3**0.5 * face_normals(vertices, faces)[1] / squares


def marched(distance) -> Mesh:
    axis = torch.linspace(-0.5, 0.5, 25)
    points = torch.stack(torch.meshgrid(axis, axis, axis, indexing="ij"), -1)
    vertices, faces = marching_tets_dense(-distance(points), (-0.5,) * 3, (0.5,) * 3)
    return Mesh(vertices, faces)


def test_a_ball_stays_a_ball_and_loses_its_slivers():
    mesh = marched(lambda p: p.norm(dim=-1) - 0.4)
    relaxed = relax(mesh, 5)
    assert (quality(mesh) < 0.3).mean() > 0.05 and (quality(relaxed) < 0.3).mean() < 0.01
    radius = relaxed.vertices.norm(dim=-1)
    assert (radius - 0.4).abs().max() < 0.004  # a tenth of a cell; marching itself is off by 0.002
    assert torch.equal(relaxed.faces, mesh.faces)


def test_the_creases_of_a_cube_stay():
    mesh = marched(lambda p: p.abs().amax(-1) - 0.31)
    relaxed = relax(mesh, 10)
    assert (relaxed.vertices.abs().amax(-1) - 0.31).abs().max() < 0.01
    moved = (relaxed.vertices - mesh.vertices).norm(dim=-1)
    on_a_crease = (mesh.vertices.abs() > 0.309).sum(-1) >= 2
    assert on_a_crease.any() and moved[on_a_crease].max() < 1e-6 < moved.max()


def test_borders_stay_and_an_empty_mesh_is_fine():
    axis = torch.arange(5.0)
    points = torch.stack(torch.meshgrid(axis, axis, torch.zeros(1), indexing="ij"), -1).reshape(-1, 3)
    points[12, :2] += torch.tensor([0.4, 0.3])  # the middle
    faces = torch.tensor([[[a, a + 5, a + 6], [a, a + 6, a + 1]] for a in range(19) if a % 5 < 4]).reshape(-1, 3)
    relaxed = relax(Mesh(points, faces), 50)
    border = (points[:, :2] == 0).any(-1) | (points[:, :2] == 4).any(-1)
    assert torch.equal(relaxed.vertices[border], points[border])
    assert (relaxed.vertices[12] - torch.tensor([2.0, 2.0, 0.0])).norm() < 1e-3
    empty = Mesh(torch.zeros(0, 3), torch.zeros(0, 3, dtype=torch.long))
    assert len(relax(empty, 3).faces) == 0
