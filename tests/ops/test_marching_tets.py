"""Marching tetrahedra: the surface of a signed distance field, its order, closedness and derivative."""
import pytest
import torch
from kit import DEVICES, assert_emulated_equals_cpu

from asset3d.ops.marching_tets import (
    CUBE_TETS,
    TetGrid,
    _deterministic_backward,
    cube_tet_grid,
    marching_tets,
    marching_tets_dense,
    marching_tets_dense_reference,
    marching_tets_reference,
    tet_grid,
)

DTYPES = [torch.float32, torch.float64]


def noise(n, dtype=torch.float64, seed=0, device="cpu"):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(n, generator=generator, dtype=torch.float64).to(dtype).to(device)


def sphere(vertices, radius=0.37):
    return radius - vertices.norm(dim=-1)


def signed_volume(vertices, faces):
    a, b, c = vertices[faces].unbind(1)
    return (torch.linalg.cross(a, b) * c).sum() / 6


def assert_closed_and_oriented(faces):
    """Every directed edge has its opposite exactly once."""
    directed = torch.cat([faces[:, [0, 1]], faces[:, [1, 2]], faces[:, [2, 0]]])
    n = int(faces.max()) + 1
    there, back = directed[:, 0] * n + directed[:, 1], directed[:, 1] * n + directed[:, 0]
    assert len(there.unique()) == len(there)
    assert torch.equal(there.sort().values, back.sort().values)


# Grids


@pytest.mark.parametrize("resolution", [1, 2, 5])
def test_tet_grid_fills_the_cube(resolution):
    grid = tet_grid(resolution, torch.float64)
    p = grid.vertices[grid.tets.long()]
    volume = (torch.linalg.cross(p[:, 1] - p[:, 0], p[:, 2] - p[:, 0]) * (p[:, 3] - p[:, 0])).sum(-1) / 6
    assert (volume < 0).all() and abs(volume.sum() + 1) < 1e-12
    assert len(grid.vertices) == (resolution + 1) ** 3 + resolution**3
    assert len(grid.tets) == 12 * resolution**2 * (resolution - 1) + 12 * resolution**2
    assert grid.vertices.min() == -0.5 and grid.vertices.max() == 0.5
    assert_conforming(grid.tets)


def assert_conforming(tets):
    """No triangle belongs to more than two tets, and every triangle inside the volume to two."""
    triangles = torch.cat([tets[:, [0, 1, 2]], tets[:, [0, 1, 3]], tets[:, [0, 2, 3]], tets[:, [1, 2, 3]]])
    _, counts = triangles.sort(1).values.unique(dim=0, return_counts=True)
    assert counts.max() <= 2
    n_boundary = (counts == 1).sum()
    assert 2 * len(counts) - n_boundary == 4 * len(tets)


def test_edges_are_sorted_and_unique():
    for grid in (tet_grid(3), cube_tet_grid((4, 3, 5))):
        ends = grid.tets[:, [[0, 1], [0, 2], [0, 3], [1, 2], [1, 3], [2, 3]]].sort(-1).values
        assert torch.equal(grid.edges, ends.reshape(-1, 2).unique(dim=0))
        assert torch.equal(grid.edges[grid.tet_edges.long()], ends)


def test_cube_grid_has_outward_tets():
    """The order of the corners needs no change by TetGrid.of: the dense kernel uses the same table."""
    grid = cube_tet_grid((3, 4, 2))
    corners = [[0, 1], [2, 3]], [[8, 9], [10, 11]]  # not used by index: size (3, 4, 2) has strides 8, 2, 1
    numbers = torch.tensor(corners).flatten()
    assert torch.equal(grid.tets[:6].long(), numbers[torch.tensor(CUBE_TETS)])


# The surface


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("seed", range(4))
def test_matches_reference(device, dtype, seed):
    grid = (tet_grid(4, dtype) if seed % 2 else cube_tet_grid((4, 6, 5), dtype=dtype)).to(device)
    sdf = noise(len(grid.vertices), dtype, seed, device)
    sdf[::7] = 0.0  # exactly on the surface: outside
    vertices = grid.vertices + 0.01 * noise(grid.vertices.shape, dtype, seed + 9, device)
    (got, faces), (want, want_faces) = marching_tets(sdf, vertices, grid), marching_tets_reference(sdf, vertices, grid)
    assert torch.equal(faces, want_faces) and len(faces) > 100
    torch.testing.assert_close(got, want, rtol=1e-6, atol=1e-6)


def test_order_of_the_published_example():
    """The example in the documentation of kaolin's marching_tetrahedra, with its tet, which TetGrid.of turns over."""
    vertices = torch.tensor([[0.0, 0, 0], [1, 0, 0], [0, 1, 0], [0, 0, 1]])
    sdf = torch.tensor([-1.0, -1.0, 0.5, 0.5])
    grid = TetGrid.of(vertices * torch.tensor([1, 1, -1]), torch.tensor([[0, 1, 2, 3]]))  # mirrored: volume < 0
    got, faces = marching_tets(sdf, vertices, grid)
    want = torch.tensor([[0, 2 / 3, 0], [0, 0, 2 / 3], [1 / 3, 2 / 3, 0], [1 / 3, 0, 2 / 3]])
    torch.testing.assert_close(got, want)
    assert faces.tolist() == [[3, 0, 1], [3, 2, 0]]


@pytest.mark.parametrize("make", [lambda: tet_grid(16, torch.float64),
                                  lambda: cube_tet_grid((21, 24, 23), dtype=torch.float64)])
def test_sphere_is_closed_outward_and_round(make):
    grid = make()
    vertices, faces = marching_tets(sphere(grid.vertices), grid.vertices, grid)
    assert_closed_and_oriented(faces)
    assert abs(vertices.norm(dim=1) - 0.37).max() < 0.37 * 0.01
    assert abs(signed_volume(vertices, faces) / (4 / 3 * torch.pi * 0.37**3) - 1) < 0.015
    assert len(vertices) - len(faces) * 3 // 2 + len(faces) == 2  # Euler: one sphere


@pytest.mark.parametrize("seed", range(3))
def test_noise_is_closed(seed):
    for grid in (tet_grid(6, torch.float64), cube_tet_grid((7, 8, 9), dtype=torch.float64)):
        sdf = noise(len(grid.vertices), seed=seed)
        sdf[(grid.vertices.abs() == 0.5).any(1)] = -1.0
        vertices, faces = marching_tets(sdf, grid.vertices, grid)
        assert_closed_and_oriented(faces)
        assert signed_volume(vertices, faces) > 0
        assert torch.equal(faces.unique(), torch.arange(len(vertices)))


@pytest.mark.parametrize("value", [1.0, -1.0, 0.0])
def test_no_surface(value):
    grid = tet_grid(2)
    sdf = torch.full((len(grid.vertices),), value, requires_grad=True)
    vertices, faces = marching_tets(sdf, grid.vertices, grid)
    assert vertices.shape == (0, 3) and faces.shape == (0, 3)
    vertices.sum().backward()
    assert torch.equal(sdf.grad, torch.zeros_like(sdf))
    dense = marching_tets_dense(torch.full((3, 4, 5), value))
    assert dense[0].shape == (0, 3) and dense[1].shape == (0, 3)


@pytest.mark.parametrize("n_vertices", [0, 1, 4])
def test_no_tets(n_vertices):
    grid = TetGrid.of(torch.zeros(n_vertices, 3), torch.zeros(0, 4, dtype=torch.int64))
    vertices, faces = marching_tets(torch.ones(n_vertices), grid.vertices, grid)
    assert vertices.shape == (0, 3) and faces.shape == (0, 3) and grid.edges.shape == (0, 2)


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("size", [(2, 2, 2), (5, 4, 33), (3, 7, 32), (4, 3, 65), (1, 5, 5), (4, 4, 1), (0, 3, 3)])
def test_dense_is_the_same_surface(device, dtype, size):
    sdf = noise(size, dtype, device=device)
    box = (-1.0, -0.5, 0.0), (1.0, 0.7, 2.0)
    vertices, faces = marching_tets_dense(sdf, *box)
    if 0 in size:
        assert vertices.shape == (0, 3) and faces.shape == (0, 3)
        return
    grid = cube_tet_grid(size, *box, dtype=dtype).to(device)
    want, want_faces = marching_tets(sdf.flatten(), grid.vertices, grid)
    assert torch.equal(faces, want_faces)
    if 1 not in size:
        torch.testing.assert_close(vertices, want, rtol=1e-6, atol=1e-6)
        reference, reference_faces = marching_tets_dense_reference(sdf, *box)
        assert torch.equal(faces, reference_faces)
        torch.testing.assert_close(vertices, reference, rtol=1e-6, atol=1e-6)


# Derivatives


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("seed", range(3))
def test_gradient(device, seed):
    grid = tet_grid(1, torch.float64).to(device)
    sdf = noise(len(grid.vertices), seed=seed, device=device)
    sdf = (sdf + 0.3 * sdf.sign()).requires_grad_()  # a change of sign changes the topology
    vertices = grid.vertices.clone().requires_grad_()
    assert torch.autograd.gradcheck(lambda s, v: marching_tets(s, v, grid)[0], (sdf, vertices))
    dense = noise((2, 3, 3), seed=seed, device=device)
    dense = (dense + 0.3 * dense.sign()).requires_grad_()
    assert torch.autograd.gradcheck(lambda s: marching_tets_dense(s)[0], (dense,))


def test_gradient_matches_reference_and_repeats():
    grid = tet_grid(8)
    gradients = []
    for function in (marching_tets, marching_tets, marching_tets_reference):
        sdf = sphere(grid.vertices).requires_grad_()
        vertices = grid.vertices.clone().requires_grad_()
        surface, _ = function(sdf, vertices, grid)
        gradients.append(torch.autograd.grad((surface * noise(surface.shape, torch.float32)).sum(), (sdf, vertices)))
    for first, again, reference in zip(*gradients):
        assert torch.equal(first, again)
        torch.testing.assert_close(first, reference, rtol=1e-5, atol=1e-5)


def test_deterministic_path_is_the_same_function():
    grid = tet_grid(3, torch.float64)
    sdf = noise(len(grid.vertices))
    surface, _, crossed = torch.ops.asset3d.marching_tets(sdf, grid.vertices, *grid.tables)
    args = (noise(surface.shape), crossed, sdf, grid.vertices)
    torch.testing.assert_close(_deterministic_backward(*args), torch.ops.asset3d.marching_tets_backward(*args))


def test_second_derivative_is_refused():
    grid = tet_grid(1)
    sdf = noise(len(grid.vertices), torch.float32).requires_grad_()
    (grad,) = torch.autograd.grad(marching_tets(sdf, grid.vertices, grid)[0].sum(), sdf, create_graph=True)
    with pytest.raises(NotImplementedError, match="marching_tets has no second derivative"):
        grad.sum().backward()


# Compilation, threads, the emulator


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("value", [None, 1.0])
def test_opcheck(device, value):
    grid = tet_grid(2).to(device)
    sdf = torch.ones_like(grid.vertices[:, 0])
    if value is None:
        sdf = noise(len(grid.vertices), torch.float32, device=device)
    args = (sdf.requires_grad_(), grid.vertices.clone().requires_grad_(), *grid.tables)
    torch.library.opcheck(torch.ops.asset3d.marching_tets.default, args)
    dense = noise((3, 4, 5), torch.float32, device=device).requires_grad_()
    torch.library.opcheck(torch.ops.asset3d.marching_tets_dense.default, (dense, [0.0, 0, 0], [1.0, 1, 1]))


def test_compiles_without_graph_break():
    grid = tet_grid(3)

    def area(sdf, vertices):
        surface, faces = marching_tets(sdf, vertices, grid)
        a, b, c = surface[faces].unbind(1)
        dense, _ = marching_tets_dense(sdf[:60].reshape(3, 4, 5))
        return torch.linalg.cross(b - a, c - a).norm(dim=1).sum() + dense.square().sum()

    compiled = torch.compile(area, fullgraph=True, backend="aot_eager")
    results = []
    for function in (area, compiled):
        sdf, vertices = sphere(grid.vertices).requires_grad_(), grid.vertices.clone().requires_grad_()
        value = function(sdf, vertices)
        results.append((value.detach(), *torch.autograd.grad(value, (sdf, vertices))))
    torch.testing.assert_close(results[1], results[0])


def test_same_bits_for_any_number_of_threads():
    grid = tet_grid(12)
    sdf = noise(len(grid.vertices), torch.float32)
    before, results = torch.get_num_threads(), []
    try:
        for n_threads in (1, 2, 3):
            torch.set_num_threads(n_threads)
            leaf = sdf.clone().requires_grad_()
            vertices, faces = marching_tets(leaf, grid.vertices, grid)
            vertices.square().sum().backward()
            dense = marching_tets_dense(sdf[: 12**3].reshape(12, 12, 12))
            results.append((vertices.detach(), faces, leaf.grad, *dense))
    finally:
        torch.set_num_threads(before)
    for other in results[1:]:
        assert all(torch.equal(a, b) for a, b in zip(results[0], other))


def test_emulated_kernels_match():
    grid = tet_grid(3, torch.float64)
    sdf, exact = noise(len(grid.vertices)), {"rtol": 0, "atol": 0}
    args = (sdf, grid.vertices, *grid.tables)
    assert_emulated_equals_cpu("marching_tets", *args, **exact)
    surface, _, crossed = torch.ops.asset3d.marching_tets(*args)
    assert_emulated_equals_cpu("marching_tets_backward", noise(surface.shape), crossed, sdf, grid.vertices)


@pytest.mark.parametrize("size", [(4, 5, 35), (2, 2, 2), (3, 1, 4)])
def test_emulated_dense_kernels_match(size):
    dense, box = noise(size), ([0.0, 0, 0], [1.0, 2, 3])
    assert_emulated_equals_cpu("marching_tets_dense", dense, *box, rtol=0, atol=0)
    surface, _, crossed = torch.ops.asset3d.marching_tets_dense(dense, *box)
    assert_emulated_equals_cpu("marching_tets_dense_backward", noise(surface.shape), crossed, dense, *box)


# Refusals


def test_refusals():
    grid = tet_grid(1)
    sdf, vertices = torch.ones(9), grid.vertices
    for args, error, message in [
        ((sdf[:5], vertices, grid), ValueError, r"`vertices` must have shape \(V, 3\) where V=5, got \(9, 3\)"),
        ((sdf[:5], vertices[:5], grid), ValueError, "`sdf` has 5 values, but `grid` has 9 vertices"),
        ((sdf.double(), vertices, grid), TypeError, "`vertices` is torch.float32 but `sdf` is torch.float64"),
        ((sdf.half(), vertices.half(), grid), RuntimeError, "expected float32 or float64"),
        ((sdf * torch.nan, vertices, grid), RuntimeError, "`sdf` has a value that is not finite at flat index 0: nan"),
    ]:
        with pytest.raises(error, match=message):
            marching_tets(*args)
    with pytest.raises(RuntimeError, match="`sdf` has a value that is not finite at flat index 1: inf"):
        marching_tets_dense(torch.tensor([0.0, torch.inf] * 4).reshape(2, 2, 2))
    with pytest.raises(ValueError, match=r"`sdf` must have shape \(X, Y, Z\), got \(8,\)"):
        marching_tets_dense(torch.ones(8))
    with pytest.raises(ValueError, match="`lower` must be 3 numbers below those of `upper`"):
        marching_tets_dense(torch.ones(2, 2, 2), (0, 0, 0), (1, 0, 1))
    with pytest.raises(ValueError, match=r"tet_grid: every size must be >= 1, got \(0,\)"):
        tet_grid(0)
    with pytest.raises(RuntimeError, match="TetGrid: tet 1 has vertex 9, but there are 9 vertices"):
        TetGrid.of(vertices, torch.tensor([[0, 1, 2, 3], [1, 2, 3, 9]]))
    with pytest.raises(TypeError, match="`tets` must be integers, got torch.float32"):
        TetGrid.of(vertices, torch.zeros(1, 4))
