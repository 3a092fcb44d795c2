"""Decimation keeps shape, topology and thin parts at a fraction of the faces."""
import numpy as np
import pytest
import torch
from real_data import shared
from mesh_shapes import grid_torus, thin_sheet

from asset3d.errors import EmptySurface, InputError
from asset3d.scene.decimate import decimate
from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_topology import edge_table, face_normals


def check_manifold(mesh, closed=True):
    count = edge_table(mesh.faces.numpy()).count
    assert ((count == 2) if closed else (count <= 2)).all()
    assert face_normals(mesh.vertices.double().numpy(), mesh.faces.numpy())[1].min() > 0


def test_torus_keeps_distance_normals_and_genus():
    low = decimate(grid_torus(), 2000)
    check_manifold(low)
    vertices, faces = low.vertices.double().numpy(), low.faces.numpy()
    assert 1990 <= len(faces) <= 2000
    assert len(vertices) - len(edge_table(faces).edges) + len(faces) == 0  # one handle
    middle = vertices[faces].mean(1)
    ring = middle * [1, 0, 1]
    ring *= 0.35 / np.linalg.norm(ring, axis=1, keepdims=True)
    distance = np.linalg.norm(middle - ring, axis=1)
    assert np.abs(distance - 0.1).max() < 2e-3
    normals = face_normals(vertices, faces)[0]
    assert ((normals * (middle - ring)).sum(1) / distance).min() > 0.96
    assert torch.allclose(low.normals.norm(dim=1), torch.ones(len(vertices)), atol=1e-5)


def test_scale_and_place_do_not_matter():
    mesh = grid_torus(80, 40)
    far = Mesh(mesh.vertices.double() * 1000 + 5000, mesh.faces)
    near, moved = decimate(Mesh(mesh.vertices.double(), mesh.faces), 800), decimate(far, 800)
    assert near.faces.shape == moved.faces.shape
    assert torch.allclose((moved.vertices - 5000) / 1000, near.vertices, atol=1e-9)


def test_thin_sheet_stays_whole():
    low = decimate(thin_sheet(), 200)
    check_manifold(low)
    vertices, faces = low.vertices.double().numpy(), low.faces.numpy()
    assert len(faces) <= 200
    normals, area = face_normals(vertices, faces)
    assert area[normals[:, 2] > 0.99].sum() == pytest.approx(1, abs=1e-3)
    assert area[normals[:, 2] < -0.99].sum() == pytest.approx(1, abs=1e-3)


def test_colors_follow_and_small_meshes_stay():
    mesh = grid_torus(40, 20)
    mesh.colors = mesh.vertices + 0.5
    low = decimate(mesh, 400)
    assert (low.colors - low.vertices - 0.5).abs().max() < 0.05  # about one edge of the old mesh
    same = decimate(mesh, 20_000)
    assert torch.equal(same.faces, mesh.faces) and torch.allclose(same.vertices, mesh.vertices)


def test_real_mesh_loses_little():
    """A boot of 40k faces at 4k: silhouettes and surface distance."""
    import trimesh
    from scipy.spatial import cKDTree
    boot = trimesh.load(shared("data/meshes/geometry/boot.obj"), force="mesh", process=False)
    boot.merge_vertices(merge_tex=True, merge_norm=True)
    low = decimate(Mesh(torch.tensor(boot.vertices), torch.tensor(boot.faces)), 4000)
    check_manifold(low)
    coarse = trimesh.Trimesh(low.vertices.numpy(), low.faces.numpy(), process=False)
    sample = lambda mesh, seed: trimesh.sample.sample_surface(mesh, 40_000, seed=seed)
    (a, fa), (again, f_again), (b, fb) = sample(boot, 0), sample(boot, 1), sample(coarse, 1)
    size = boot.extents.max()

    def compare(points, normals):
        there, match = cKDTree(points).query(a)
        back = cKDTree(a).query(points)[0]
        return there.mean() / 2 + back.mean() / 2, there.max(), (boot.face_normals[fa] * normals[match]).sum(1).mean()

    chamfer, farthest, agreement = compare(b, coarse.face_normals[fb])
    sampling, _, best = compare(again, boot.face_normals[f_again])  # what another sample of the boot itself scores
    assert chamfer / size < sampling / size + 2e-4 and farthest / size < 0.02
    assert agreement > best - 0.03


def test_refusals():
    with pytest.raises(InputError, match="face_budget must be at least 4, got 3"):
        decimate(grid_torus(8, 4), 3)
    with pytest.raises(EmptySurface, match="no faces"):
        decimate(Mesh(torch.zeros(3, 3), torch.zeros(0, 3, dtype=torch.int64)), 100)
