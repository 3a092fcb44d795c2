"""The textured mesh: how its vertices move, and how it is drawn."""
import pytest
import torch

from asset3d.renderer.mesh import MeshRenderer, MeshRendererConfig
from asset3d.representation.textured_mesh import SMOOTHING, NeighbourMean, TexturedMesh, TexturedMeshConfig
from asset3d.scene.camera import orbit
from asset3d.scene.material import Material
from asset3d.scene.mesh import Mesh


def sheet(n=6):
    """A square of (n + 1)² places, cut along x = 0: both sides of the cut have vertices of their own."""
    vertices, faces = [], []
    for left in (0, n // 2):
        first = len(vertices)
        for i in range(n // 2 + 1):
            vertices += [[(left + i) / n - 0.5, j / n - 0.5, 0.0] for j in range(n + 1)]
        for i in range(n // 2):
            for j in range(n):
                a, b = first + i * (n + 1) + j, first + (i + 1) * (n + 1) + j
                faces += [[a, b, b + 1], [a, b + 1, a + 1]]
    vertices = torch.tensor(vertices)
    return Mesh(vertices, torch.tensor(faces), uvs=vertices[:, :2] * torch.tensor([1.0, -1.0]) + 0.5)


def textured(factor=1.0, **given):
    return TexturedMesh(TexturedMeshConfig(texture_size=16, learning_rate_vertices=factor), sheet(),
                        torch.full((16, 16, 3), 0.5), **given)


def test_without_moves_the_surface_is_the_mesh():
    for factor in (0.0, 1.0):
        vertices, faces = textured(factor).surface()
        assert torch.equal(vertices, sheet().vertices) and torch.equal(faces, sheet().faces)


def test_both_sides_of_a_seam_move_together():
    mesh = textured()
    assert len(mesh.places) == 49 and len(mesh.start_mesh.vertices) == 56
    with torch.no_grad():
        for k, move in enumerate(mesh.moves):
            move.copy_(torch.randn(move.shape, generator=torch.Generator().manual_seed(k)))
    moved = mesh.surface()[0]
    seam = (mesh.start_mesh.vertices[:, 0] == 0).nonzero()[:, 0]
    assert len(seam) == 14 and torch.equal(moved[seam[:7]], moved[seam[7:]])
    assert (moved - mesh.start_mesh.vertices).norm(dim=-1).min() > 0


def test_equal_moves_stay_equal():
    """Averaging over neighbours leaves a constant alone, so that the whole mesh can be shifted."""
    mesh, shift = textured(), torch.tensor([0.1, -0.2, 0.3])
    with torch.no_grad():
        for move in mesh.moves:
            move.copy_(shift.expand_as(move))
    torch.testing.assert_close(mesh.surface()[0], sheet().vertices + len(SMOOTHING) * shift, atol=1e-5, rtol=0)


def test_wider_moves_reach_further():
    reached = []
    for k in range(len(SMOOTHING)):
        mesh = textured()
        with torch.no_grad():
            mesh.moves[k][24] = torch.tensor([0.0, 0, 1])  # the middle
        reached.append(int((mesh.surface()[0][:, 2] > 0).sum()))
    assert reached[0] == 2 and reached[0] < reached[1] <= reached[2] == 56


def test_the_shape_without_seams_is_the_same_and_every_inner_edge_is_a_hinge():
    mesh = textured()
    vertices, faces = mesh.moved_places(), mesh.closed_faces
    assert len(vertices) == 49 and len(faces) == 72
    assert torch.equal(vertices[faces], mesh.surface()[0][mesh.surface()[1]])
    assert mesh.hinge_faces.shape == (2, 96) and mesh.hinge_ends.shape == (96, 2)  # 3 * 72 = 2 * 96 + 24 on the border
    for one, other, ends in zip(*mesh.hinge_faces.tolist(), mesh.hinge_ends.tolist()):
        assert set(faces[one].tolist()) & set(faces[other].tolist()) == set(ends)


def test_the_renderer_gives_normals_beside_every_edge():
    mesh = textured()
    with torch.no_grad():
        mesh.moves[0][24, 2] = 0.1  # a bump
    extras = MeshRenderer(MeshRendererConfig()).render(mesh, orbit([0.0], 0.0, 2.6, 30.0, 16)).extras
    turn = (extras["neighbour_normals"][0] - extras["neighbour_normals"][1]).norm(dim=-1) > 1e-4
    near = (mesh.closed_faces[mesh.hinge_faces] == 24).any(-1).any(0)
    assert turn.any() and not (turn & ~near).any()
    ends = mesh.places[mesh.hinge_ends]
    flat = ~near
    torch.testing.assert_close(extras["neighbour_weights"][flat], (ends[:, 0] - ends[:, 1]).norm(dim=-1)[flat])


def test_neighbour_mean_of_a_fan():
    faces = torch.tensor([[0, 1, 2], [0, 2, 3]])
    mean = NeighbourMean(faces, 4)
    want = torch.tensor([[0, 1, 1, 1], [1, 0, 1, 0], [1, 1, 0, 1], [1, 0, 1, 0]]) / torch.tensor([[3.0], [2], [3], [2]])
    torch.testing.assert_close(mean(torch.eye(4)), want)
    x = torch.eye(4).requires_grad_()
    (gradient,) = torch.autograd.grad((mean(x) * torch.arange(16.0).reshape(4, 4)).sum(), x)
    torch.testing.assert_close(gradient, want.T @ torch.arange(16.0).reshape(4, 4))


@pytest.mark.parametrize("supersample, texture_filter", [(1, "linear-mipmap-linear"), (2, "linear")])
def test_it_is_drawn_with_its_texture_depth_and_normals(supersample, texture_filter):
    mesh = textured()
    with torch.no_grad():
        mesh.texture[:, :8] = torch.tensor([1.0, 0, 0])  # v = 0 is the top row, so the upper half turns red
    config = MeshRendererConfig(supersample=supersample, texture_filter=texture_filter, normals=True)
    picture = MeshRenderer(config).render(mesh, orbit(0, 0, 2.6, 30, 33))
    middle = {row: picture.color[0, row, 16] for row in (10, 22)}
    torch.testing.assert_close(middle[10], torch.tensor([1.0, 0, 0]))
    torch.testing.assert_close(middle[22], torch.full((3,), 0.5))
    torch.testing.assert_close(picture.depth[0, 16, 16], torch.tensor([2.6]))
    torch.testing.assert_close(picture.normal[0, 16, 16], torch.tensor([0.0, 0, 1]))
    assert picture.alpha[0, 16, 16] == 1 and picture.alpha[0, 0, 0] == 0 and picture.depth[0, 0, 0] == 0
    # 33 rows show 2 * 2.6 * tan(15 degrees) = 1.393, of which the square is 1
    assert abs(float(picture.alpha.detach().sum()) ** 0.5 / 33 - 1 / 1.3933) < 0.01
    picture.color.sum().backward()
    assert mesh.texture.grad.abs().sum() > 0 and all(move.grad.abs().sum() > 0 for move in mesh.moves)


def test_of_an_asset_draws_it_and_refuses_a_bare_mesh():
    mesh = sheet()
    with pytest.raises(ValueError, match="needs uvs and a base-colour texture"):
        TexturedMesh.of(mesh)
    mesh.material = Material(torch.full((16, 16, 3), 0.25))
    picture = MeshRenderer(MeshRendererConfig()).render(TexturedMesh.of(mesh), orbit(0, 0, 2.6, 30, 16))
    torch.testing.assert_close(picture.color[0, 8, 8].detach(), torch.full((3,), 0.25))
