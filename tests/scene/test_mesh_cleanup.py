"""Cleaning keeps what can be seen, turns it outward, and leaves only manifold edges."""
import numpy as np
import pytest
import torch
from mesh_shapes import as_mesh as mesh
from mesh_shapes import box, join

from asset3d.errors import EmptySurface, InputError
from asset3d.scene.mesh_cleanup import clean_mesh, orient, split_non_manifold
from asset3d.scene.mesh_topology import corner_fans, edge_table, face_components, vertex_normals


def volume(vertices, faces):
    corner = np.asarray(vertices, float)[np.asarray(faces)]
    return (corner[:, 0] * np.cross(corner[:, 1], corner[:, 2])).sum() / 6


def test_keeps_large_components_and_their_attributes():
    vertices, faces = join(box(), box((3, 0, 0), 0.5), box((0, 3, 0), 0.05))
    colors = torch.arange(72.0).reshape(24, 3) / 72
    out, report = clean_mesh(mesh(vertices, faces, colors=colors))
    assert out.faces.shape == (24, 3) and out.vertices.shape == (16, 3)
    assert torch.equal(out.colors, colors[:16])
    assert (report.components, report.removed_components, report.unreferenced_vertices) == (3, 1, 8)
    assert report.removed_area == pytest.approx(0.0025 / 1.2525, rel=1e-4)  # float32 vertices
    one, _ = clean_mesh(mesh(vertices, faces), max_components=1)
    assert one.faces.shape == (12, 3)


def test_removes_hidden_cavity_but_not_an_object_beside():
    v, f = box(size=0.5)
    out, report = clean_mesh(mesh(*join(box(), (v, f[:, ::-1]))))
    assert out.faces.shape == (12, 3) and report.removed_components == 1
    v, f = box((2, 0, 0), 0.5)
    beside, report = clean_mesh(mesh(*join(box(), (v, f[:, ::-1]))))
    assert beside.faces.shape == (24, 3) and report.turned_faces == 0


def test_removes_degenerate_duplicate_and_non_finite():
    vertices, faces = box()
    extra = np.array([[0, 0, 1], [0, 1, 8], faces[3][[1, 2, 0]], [0, 1, 9]])
    vertices = np.concatenate([vertices, (vertices[:1] + vertices[1:2]) / 2, [[np.nan, 0, 0]]])
    out, report = clean_mesh(mesh(vertices, np.concatenate([faces, extra])))
    assert torch.equal(out.faces, torch.tensor(faces))
    assert (report.degenerate_faces, report.duplicate_faces, report.unreferenced_vertices) == (3, 1, 2)


def test_collapsing_a_needle_leaves_no_crack():
    vertices, faces = box()
    vertices = np.concatenate([vertices, vertices[:1] + 1e-8])
    assert faces[:2].tolist() == [[0, 1, 3], [0, 3, 2]]
    faces = np.concatenate([[[8, 1, 3], [8, 3, 2], [1, 8, 0], [8, 2, 0]], faces[2:]])
    out, _ = clean_mesh(mesh(vertices, faces))
    assert (edge_table(out.faces.numpy()).count == 2).all() and out.vertices.shape == (8, 3)


def test_orients_each_component_as_most_of_it_was():
    vertices, faces = join(box(), box((3, 0, 0)))
    mixed = faces.copy()
    mixed[[1, 5, 14]] = mixed[[1, 5, 14]][:, ::-1]
    turned, count = orient(vertices, mixed)
    assert count == 3 and volume(vertices, turned) == pytest.approx(2)
    outward, count = orient(vertices, faces[:12, ::-1])
    assert count == 12 and volume(vertices, outward) == pytest.approx(1)


def test_moebius_strip_stays():
    around = np.linspace(0, 2 * np.pi, 12, endpoint=False)
    radius = lambda s: 1 + s * np.cos(around / 2)
    rim = lambda s: np.stack([radius(s) * np.cos(around), radius(s) * np.sin(around), s * np.sin(around / 2)], -1)
    vertices = np.concatenate([rim(-0.3), rim(0.3)])
    faces = []
    for i in range(12):
        a, b = (i, i + 12), ((i + 1) % 12, (i + 1) % 12 + 12)
        b = b[::-1] if i == 11 else b
        faces += [(a[0], b[0], b[1]), (a[0], b[1], a[1])]
    out, _ = clean_mesh(mesh(vertices, np.array(faces)))
    assert out.faces.shape == (24, 3)


@pytest.mark.parametrize("shift", [(1, 1, 0), (1, 1, 1)])
def test_splits_cubes_that_touch(shift):
    vertices, faces = join(box(), box(shift))
    welded, index = np.unique(np.round(vertices, 6), axis=0, return_inverse=True)
    shared = index[faces]
    assert len(welded) == (14 if sum(shift) == 2 else 15)
    points, split, source = split_non_manifold(welded, shared)
    assert len(points) == 16 and (edge_table(split).count == 2).all()
    assert np.allclose(points[split], welded[shared]) and (source >= 0).all()
    assert face_components(split, len(points)).max() == 1
    for part in (0, 1):
        assert volume(points, split[face_components(split, len(points)) == part]) == pytest.approx(1)


def test_splits_an_edge_whose_pieces_meet_at_both_ends():
    """Two tetrahedra on one edge, closed at both ends by being joined there: cut in the middle of the edge."""
    cube_a, cube_b, bridge = box(), box((1, 1, 0)), box((1, 0, 0))
    vertices, faces = join(cube_a, cube_b, bridge)
    welded, index = np.unique(np.round(vertices, 6), axis=0, return_inverse=True)
    faces = index[faces]
    key = np.sort(faces, axis=1)
    _, inverse, count = np.unique(key, axis=0, return_inverse=True, return_counts=True)
    faces = faces[count[inverse] == 1]  # walls inside the union go
    points, split, _ = split_non_manifold(welded, faces)
    assert (edge_table(split).count <= 2).all()
    assert volume(points, split) == pytest.approx(volume(welded, faces))


def test_fans_and_normals_of_a_cube():
    vertices, faces = box()
    fans = corner_fans(faces, edge_table(faces).pairs())
    assert fans.max() == 7
    assert np.allclose(vertex_normals(vertices, faces), vertices / np.linalg.norm(vertices, axis=1, keepdims=True))


def test_refusals():
    vertices, faces = box()
    with pytest.raises(InputError, match=r"face indices must be in \[0, 8\), got 0 to 9"):
        clean_mesh(mesh(vertices, np.array([[0, 1, 9]])))
    with pytest.raises(InputError, match="min_component"):
        clean_mesh(mesh(vertices, faces), min_component=2)
    with pytest.raises(EmptySurface, match="no face with an area is left of 1"):
        clean_mesh(mesh(vertices, np.array([[0, 0, 1]])))
    with pytest.raises(EmptySurface):
        clean_mesh(mesh(vertices, np.zeros((0, 3), np.int64)))
