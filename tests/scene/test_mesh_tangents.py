"""Tangents are MikkTSpace's own, and mean what glTF says they mean."""
import numpy as np
import pytest
import torch
from mesh_shapes import grid_torus
from node_tools import run_node

from asset3d.errors import InputError
from asset3d.scene.mesh import Mesh
from asset3d.scene.mesh_topology import vertex_normals
from asset3d.scene.tangents import with_tangents
from asset3d.scene.unwrap import unwrap


def quad(mirrored=False):
    """A unit square seen from +Z; its picture stands upright, or mirrored."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [1, 1, 0], [0, 1, 0]])
    uvs = torch.stack([1 - vertices[:, 0] if mirrored else vertices[:, 0], 1 - vertices[:, 1]], -1)
    return Mesh(vertices, torch.tensor([[0, 1, 2], [0, 2, 3]]), torch.tensor([[0.0, 0, 1]]).expand(4, 3), uvs)


def test_upright_picture():
    out = with_tangents(quad())
    assert torch.allclose(out.tangents, torch.tensor([[1.0, 0, 0, 1]]).expand(4, 4))
    assert torch.allclose(with_tangents(quad(mirrored=True)).tangents, torch.tensor([[-1.0, 0, 0, -1]]).expand(4, 4))


def test_vertices_between_mirrored_halves_are_split():
    vertices = torch.tensor([[-1.0, 0, 0], [0, 0, 0], [1, 0, 0], [-1, 1, 0], [0, 1, 0], [1, 1, 0]])
    uvs = torch.stack([vertices[:, 0].abs(), 1 - vertices[:, 1]], -1)
    faces = torch.tensor([[0, 1, 4], [0, 4, 3], [1, 2, 5], [1, 5, 4]])
    out = with_tangents(Mesh(vertices, faces, torch.tensor([[0.0, 0, 1]]).expand(6, 3), uvs))
    assert out.vertices.shape == (8, 3) and torch.equal(out.vertices[out.faces], vertices[faces])
    signs = out.tangents[out.faces][..., 3]
    assert torch.equal(signs, torch.tensor([[-1.0] * 3] * 2 + [[1.0] * 3] * 2))


def reference(mesh):
    """(3 F, 4) tangents of the reference implementation for every corner; glTF negates its sign (v grows down)."""
    corner = mesh.faces.reshape(-1)
    data = np.concatenate([x[corner].numpy().astype(np.float32).reshape(-1)
                           for x in (mesh.vertices, mesh.normals, mesh.uvs)])
    out = np.frombuffer(run_node("tangents.js", data=data.tobytes()), np.float32).reshape(-1, 4)
    return out * [1, 1, 1, -1]


@pytest.mark.parametrize("noise", [0, 0.01])
def test_equals_the_reference(noise):
    """On an unwrapped torus, whose charts are turned and mirrored."""
    mesh, _ = unwrap(grid_torus(40, 20, noise=noise), 256)
    mesh.normals = torch.from_numpy(vertex_normals(mesh.vertices.double().numpy(), mesh.faces.numpy())).float()
    out = with_tangents(mesh)
    assert torch.equal(out.vertices[out.faces], mesh.vertices[mesh.faces])
    ours, theirs = out.tangents[out.faces].reshape(-1, 4).numpy(), reference(mesh)
    assert (ours[:, 3] == theirs[:, 3]).all()
    assert np.abs(ours - theirs).max() < 1e-5
    assert (out.tangents[:, :3] * out.normals).sum(1).abs().max() < 1e-5
    assert torch.allclose(out.tangents[:, :3].norm(dim=1), torch.ones(len(out.vertices)), atol=1e-5)


def test_no_direction_still_gives_unit_tangents():
    mesh = quad()
    mesh.uvs = torch.zeros(4, 2)
    out = with_tangents(mesh)
    assert torch.allclose(out.tangents[:, :3].norm(dim=1), torch.ones(4)) and (out.tangents[:, 2] == 0).all()


def test_fresh_normals_do_not_see_seams():
    mesh, _ = unwrap(grid_torus(40, 20), 256)
    mesh.normals = None
    out = with_tangents(mesh)
    exact = grid_torus(40, 20)
    normals = torch.from_numpy(vertex_normals(exact.vertices.double().numpy(), exact.faces.numpy())).float()
    assert len(out.vertices) > len(exact.vertices)
    assert torch.allclose(out.normals[out.faces], normals[exact.faces], atol=1e-5)


def test_sheets_back_to_back_keep_their_normals():
    """Both sides of a square, as two sheets at one place."""
    mesh = quad()
    both = Mesh(mesh.vertices.repeat(2, 1), torch.cat([mesh.faces, mesh.faces.flip(1) + 4]), uvs=mesh.uvs.repeat(2, 1))
    assert torch.equal(with_tangents(both).normals[:, 2], torch.tensor([1.0] * 4 + [-1.0] * 4))


def test_refuses_a_mesh_without_uvs():
    with pytest.raises(InputError, match="unwrap it first"):
        with_tangents(grid_torus(8, 4))
