"""Marching tetrahedra: the surface where a signed distance field on tetrahedra changes sign; differentiable.

V grid vertices, T tetrahedra, E edges, M surface vertices, F faces. A vertex is inside where sdf > 0.
"""
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from jaxtyping import Float, Int32, Int64
from torch import Tensor

from asset3d import _C  # noqa: F401  registers torch.ops.asset3d.*
from asset3d.ops._check import check, check_float, deterministic, refuse_second_derivative

EDGE_ENDS = ((0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3))
# Corners of the six tets of a cube, corner x y z as bits 4 2 1; also in csrc/marching_tets/dense_math.h.
CUBE_TETS = ((0, 6, 4, 7), (0, 4, 5, 7), (0, 2, 6, 7), (0, 3, 2, 7), (0, 5, 1, 7), (0, 1, 3, 7))
# Triangles by which corners are inside (bits 1 2 4 8), as edge numbers: the order of kaolin.
TRIANGLES = (
    (), (1, 0, 2), (4, 0, 3), (1, 4, 2, 1, 3, 4), (3, 1, 5), (2, 3, 0, 2, 5, 3), (1, 4, 0, 1, 5, 4), (4, 2, 5),
    (4, 5, 2), (4, 1, 0, 4, 5, 1), (3, 2, 0, 3, 5, 2), (1, 3, 5), (4, 1, 2, 4, 3, 1), (3, 0, 4), (2, 0, 1), (),
)  # fmt: skip


@dataclass(frozen=True)
class TetGrid:
    """Tetrahedra that fill a volume, with their edges: built once, used for every surface. See `TetGrid.of`."""

    vertices: Float[Tensor, "V 3"]
    """Rest positions."""
    tets: Int32[Tensor, "T 4"]
    """Corners of each tetrahedron, of negative volume, so that faces turn outward."""
    edges: Int32[Tensor, "E 2"]
    """Every edge once, smaller index first, sorted."""
    tet_edges: Int32[Tensor, "T 6"]
    """Edges (0,1) (0,2) (0,3) (1,2) (1,3) (2,3) of each tetrahedron, as rows of `edges`."""
    cover_first: Int32[Tensor, "W1"]
    """Where the rows of `cover` of every 32 tetrahedra start, then P."""
    cover: Int32[Tensor, "P 2"]
    """The vertices of every 32 tetrahedra: a number w and a mask of those of 32 w ... 32 w + 31. With them a kernel
    finds the few tetrahedra near the surface without reading the others."""

    @classmethod
    def of(cls, vertices: Float[Tensor, "V 3"], tets: Tensor) -> "TetGrid":
        """Build a grid from any conforming tetrahedra; the last two corners of those of positive volume are swapped.

        Args:
            vertices: Rest positions, (V, 3).
            tets: Corners, (T, 4), of any integer dtype.

        Raises:
            ValueError: a shape is wrong. TypeError: `tets` is not of integers. RuntimeError: a tet names a vertex
            that is not there.
        """
        check("TetGrid", vertices=(vertices, "V 3"))
        check("TetGrid", tets=(tets, "T 4"))
        if tets.is_floating_point() or tets.is_complex() or tets.dtype == torch.bool:
            raise TypeError(f"TetGrid: `tets` must be integers, got {tets.dtype}")
        tets = tets.detach().cpu().to(torch.int32).contiguous()
        tets = torch.ops.asset3d.tet_grid_orient(vertices.detach().cpu().contiguous(), tets)  # refuses bad indices
        edges, tet_edges = torch.ops.asset3d.tet_grid_edges(tets, len(vertices))
        tables = (tets, edges, tet_edges, *torch.ops.asset3d.tet_grid_cover(tets))
        return cls(vertices.detach(), *(table.to(vertices.device) for table in tables))

    def to(self, device: torch.device | str) -> "TetGrid":
        return TetGrid(self.vertices.to(device), *(table.to(device) for table in self.tables))

    @property
    def tables(self) -> tuple[Tensor, ...]:
        """What the kernel reads beside values and positions."""
        return self.tets, self.edges, self.tet_edges, self.cover_first, self.cover


def tet_grid(resolution: int, dtype: torch.dtype = torch.float32) -> TetGrid:
    """Fill [-0.5, 0.5]^3 with a body-centred cubic lattice of `resolution` cubes per axis.

    Corners and centres of the cubes are vertices: (resolution + 1)^3 + resolution^3 of them, about 12 resolution^3
    tets. A tet joins the centres of two cubes that share a face with an edge of that face: all are congruent, with
    dihedral angles of 60 and 90 degrees, so that surface triangles are better shaped, and depend less on direction,
    than those of cubes cut into five or six (as in Labelle & Shewchuk 2007, "Isosurface stuffing"), for as many tets
    and edges per vertex. On the boundary, half octahedra are cut into two.

    Args:
        resolution: Cubes per axis, >= 1. 64 gives 0.54 M vertices, 3.1 M tets and takes 150 MB.
        dtype: Of the vertices.

    Raises:
        ValueError: resolution < 1.
    """
    _check_resolution("tet_grid", (resolution,))
    corner = _numbered((resolution + 1,) * 3, first=0)
    centre = _numbered((resolution,) * 3, first=corner.numel())
    steps = torch.arange(resolution + 1, dtype=dtype) / resolution - 0.5
    middles = (torch.arange(resolution, dtype=dtype) + 0.5) / resolution - 0.5
    vertices = torch.cat([torch.cartesian_prod(steps, steps, steps), torch.cartesian_prod(middles, middles, middles)])
    behind = torch.stack([_tets_behind(corner, centre, axis) for axis in range(3)], 3)  # cells x, y, z; axis; 4 tets
    ends = [_half_octahedra(corner, centre, axis, -1).reshape(-1, 4) for axis in range(3)]
    tets = torch.cat([behind.reshape(-1, 4), *ends])
    tets = tets[tets[:, 0] >= 0]
    return TetGrid.of(vertices, tets)


def cube_tet_grid(
    size: Sequence[int],
    lower: Sequence[float] = (-0.5, -0.5, -0.5),
    upper: Sequence[float] = (0.5, 0.5, 0.5),
    dtype: torch.dtype = torch.float32,
) -> TetGrid:
    """A regular grid of `size` vertices with six tets per cube: the tets that `marching_tets_dense` never stores."""
    _check_resolution("cube_tet_grid", size)
    corner = _numbered(tuple(size), first=0)
    cells = torch.stack([_shifted(corner, code >> 2, code >> 1 & 1, code & 1) for code in range(8)], -1)
    tets = cells.reshape(-1, 8)[:, torch.tensor(CUBE_TETS)].reshape(-1, 4)
    return TetGrid.of(_regular_vertices(size, lower, upper, dtype), tets)


def marching_tets(
    sdf: Float[Tensor, "V"], vertices: Float[Tensor, "V 3"], grid: TetGrid
) -> tuple[Float[Tensor, "M 3"], Int64[Tensor, "F 3"]]:
    """Extract the surface between sdf > 0 (inside) and sdf <= 0, differentiable in `sdf` and `vertices`.

    On an edge from p0 to p1 with values s0 and s1 the surface is at (p1 * s0 - p0 * s1) / (s0 - s1). Vertices come in
    the order of the sorted edges; faces in the order of the tets, first of those with one triangle, then of those
    with two; both as in kaolin. The mesh is closed where the surface does not reach the boundary of the grid, and
    empty where there is no surface. Where deterministic algorithms are asked for (always on the CPU), gradients
    repeat to the bit.

    Args:
        sdf: Value at each vertex of the grid, (V,); only its sign at the vertices decides the topology.
        vertices: Their positions, (V, 3): those of the grid or moved ones, as long as no tet turns inside out.
        grid: The tetrahedra.

    Returns:
        vertices (M, 3), faces (F, 3) int64, counter-clockwise seen from outside.

    Raises:
        ValueError: a shape or device is wrong. TypeError: dtypes differ. RuntimeError: `sdf` is not finite (CPU).
    """
    check("marching_tets", sdf=(sdf, "V"), vertices=(vertices, "V 3"))
    if len(sdf) != len(grid.vertices):
        raise ValueError(f"marching_tets: `sdf` has {len(sdf)} values, but `grid` has {len(grid.vertices)} vertices")
    if sdf.device != grid.tets.device:
        raise ValueError(f"marching_tets: `grid` is on {grid.tets.device} but `sdf` is on {sdf.device}")
    return torch.ops.asset3d.marching_tets(sdf.contiguous(), vertices.contiguous(), *grid.tables)[:2]


def marching_tets_dense(
    sdf: Float[Tensor, "X Y Z"],
    lower: Sequence[float] = (-0.5, -0.5, -0.5),
    upper: Sequence[float] = (0.5, 0.5, 0.5),
) -> tuple[Float[Tensor, "M 3"], Int64[Tensor, "F 3"]]:
    """The surface of values on a regular grid: exactly `marching_tets` on `cube_tet_grid`, without storing its tets.

    Memory beyond the result is about 2.5 bytes per value, so that 512^3 is within reach. Differentiable in `sdf`.

    Args:
        sdf: Values at the vertices of the grid, (X, Y, Z), indexed by position along x, y and z; inside is > 0.
        lower: Where sdf[0, 0, 0] is, (3,).
        upper: Where sdf[-1, -1, -1] is, (3,).

    Returns:
        vertices (M, 3), faces (F, 3) int64, counter-clockwise seen from outside.

    Raises:
        ValueError: a shape is wrong, or upper <= lower. RuntimeError: `sdf` is not finite (CPU).
    """
    check("marching_tets_dense", sdf=(sdf, "X Y Z"))
    check_float("marching_tets_dense", sdf=sdf)
    lower, upper = [float(x) for x in lower], [float(x) for x in upper]
    if len(lower) != 3 or len(upper) != 3 or any(a >= b for a, b in zip(lower, upper)):
        raise ValueError(f"marching_tets_dense: `lower` must be 3 numbers below those of `upper`, got {lower}, {upper}")
    return torch.ops.asset3d.marching_tets_dense(sdf.contiguous(), lower, upper)[:2]


# Grids


def _check_resolution(op: str, size: Sequence[int]) -> None:
    if any(n < 1 for n in size):
        raise ValueError(f"{op}: every size must be >= 1, got {tuple(size)}")


def _numbered(size: tuple[int, ...], first: int) -> Tensor:
    return torch.arange(first, first + torch.Size(size).numel(), dtype=torch.int32).reshape(size)


def _shifted(numbers: Tensor, *by: int) -> Tensor:
    """The numbers of the vertices one cell further along some axes, of every cell."""
    for axis, offset in enumerate(by):
        numbers = numbers.narrow(axis, offset, numbers.shape[axis] - 1)
    return numbers


def _ring(corner: Tensor, axis: int, layer: slice) -> list[Tensor]:
    """The four corners of the faces across an axis, in order, for some layers of corners."""
    u, v = (other for other in range(3) if other != axis)
    corner = corner[(slice(None),) * axis + (layer,)]
    n = corner.shape[u] - 1
    return [corner.narrow(u, a, n).narrow(v, b, n) for a, b in ((0, 0), (1, 0), (1, 1), (0, 1))]


def _half_octahedra(corner: Tensor, centre: Tensor, axis: int, end: int) -> Tensor:
    """The two tets of each cell at the lower (0) or upper (-1) boundary across an axis."""
    layer = slice(0, 1) if end == 0 else slice(-1, None)
    a, b, c, d = _ring(corner, axis, layer)
    cell = centre[(slice(None),) * axis + (layer,)]
    return torch.stack([torch.stack([cell, a, b, c], -1), torch.stack([cell, a, c, d], -1)], 3)


def _tets_behind(corner: Tensor, centre: Tensor, axis: int) -> Tensor:
    """The four tets of each cell across its lower face on an axis, (n, n, n, 4, 4); -1 for the two missing ones of a
    boundary face."""
    ring, n = _ring(corner, axis, slice(1, -1)), centre.shape[axis]
    near, far = centre.narrow(axis, 0, n - 1), centre.narrow(axis, 1, n - 1)
    inner = torch.stack([torch.stack([near, far, ring[k], ring[(k + 1) % 4]], -1) for k in range(4)], 3)
    first = _half_octahedra(corner, centre, axis, 0)
    return torch.cat([torch.cat([first, torch.full_like(first, -1)], 3), inner], axis)


def _regular_vertices(size, lower, upper, dtype) -> Tensor:
    axes = [
        low + torch.arange(n, dtype=dtype) * ((high - low) / max(n - 1, 1)) for n, low, high in zip(size, lower, upper)
    ]
    return torch.cartesian_prod(*axes)


# Shapes without data


def _fake_mesh(sdf: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    context = torch.library.get_ctx()
    n_vertices, n_faces = context.new_dynamic_size(), context.new_dynamic_size()
    faces = sdf.new_empty(n_faces, 3, dtype=torch.int64)
    return sdf.new_empty(n_vertices, 3), faces, sdf.new_empty(n_vertices, 2, dtype=torch.int32)


@torch.library.register_fake("asset3d::marching_tets")
def _(sdf, vertices, tets, edges, tet_edges, cover_first, cover):
    return _fake_mesh(sdf)


@torch.library.register_fake("asset3d::marching_tets_dense")
def _(sdf, lower, upper):
    return _fake_mesh(sdf)


@torch.library.register_fake("asset3d::marching_tets_backward")
def _(grad, crossed, sdf, vertices):
    return sdf.new_empty(sdf.shape), vertices.new_empty(vertices.shape)


@torch.library.register_fake("asset3d::marching_tets_dense_backward")
def _(grad, crossed, sdf, lower, upper):
    return sdf.new_empty(sdf.shape)


# Derivatives


def _save(ctx, inputs, output):
    sdf, vertices, *_ = inputs
    _, faces, crossed = output
    ctx.mark_non_differentiable(faces, crossed)
    ctx.save_for_backward(crossed, sdf, vertices)


def _backward(ctx, grad, *_):
    crossed, sdf, vertices = ctx.saved_tensors
    if deterministic(sdf):
        gradients = _deterministic_backward(grad, crossed, sdf, vertices)
    else:
        gradients = torch.ops.asset3d.marching_tets_backward(grad.contiguous(), crossed, sdf, vertices)
    return *gradients, None, None, None, None, None


def _deterministic_backward(grad, crossed, sdf, vertices):
    """The same sums without atomics: index_put accumulates in a fixed order where deterministic algorithms are on."""
    ends = crossed.long()
    s, p = sdf[ends], vertices[ends]
    span = s[:, 0] - s[:, 1]
    weight = torch.stack([-s[:, 1], s[:, 0]], -1) / span[:, None]
    along = (grad * (p[:, 1] - p[:, 0])).sum(-1) / span
    grad_sdf = torch.zeros_like(sdf).index_put((ends,), weight * along[:, None], accumulate=True)
    grad_vertices = torch.zeros_like(vertices).index_put((ends,), weight[..., None] * grad[:, None], accumulate=True)
    return grad_sdf, grad_vertices


def _save_dense(ctx, inputs, output):
    sdf, ctx.lower, ctx.upper = inputs
    _, faces, crossed = output
    ctx.mark_non_differentiable(faces, crossed)
    ctx.save_for_backward(crossed, sdf)


def _backward_dense(ctx, grad, *_):
    crossed, sdf = ctx.saved_tensors
    if deterministic(sdf):
        vertices = _regular_vertices(sdf.shape, ctx.lower, ctx.upper, sdf.dtype).to(sdf.device)
        grad_sdf, _ = _deterministic_backward(grad, crossed, sdf.flatten(), vertices)
        return grad_sdf.reshape(sdf.shape), None, None
    backward = torch.ops.asset3d.marching_tets_dense_backward
    return backward(grad.contiguous(), crossed, sdf, ctx.lower, ctx.upper), None, None


torch.library.register_autograd("asset3d::marching_tets", _backward, setup_context=_save)
torch.library.register_autograd("asset3d::marching_tets_dense", _backward_dense, setup_context=_save_dense)
refuse_second_derivative("marching_tets")
refuse_second_derivative("marching_tets_dense")


# The same functions in plain PyTorch: the definition that every kernel is tested against


def marching_tets_reference(sdf, vertices, grid):
    """As DMTet implementations do it: the edges of the crossed tets are made unique by sorting, at every call."""
    inside = sdf > 0
    inside_tets = inside[grid.tets.long()]
    crossed_tets = inside_tets.any(1) & ~inside_tets.all(1)
    tets, inside_tets = grid.tets[crossed_tets].long(), inside_tets[crossed_tets]
    ends = tets[:, torch.tensor(EDGE_ENDS, device=sdf.device)].sort(-1).values  # (t, 6, 2)
    keys, number = torch.unique(ends[..., 0] * len(sdf) + ends[..., 1], return_inverse=True)
    edges = torch.stack([keys // max(len(sdf), 1), keys % max(len(sdf), 1)], -1)
    crosses = inside[edges].sum(1) == 1
    edges, number = edges[crosses], (crosses.cumsum(0) - 1)[number]
    case = (inside_tets * torch.tensor([1, 2, 4, 8], device=sdf.device)).sum(1)
    n_triangles = torch.tensor([len(row) // 3 for row in TRIANGLES], device=sdf.device)[case]
    table = torch.tensor([row + (0,) * (6 - len(row)) for row in TRIANGLES], device=sdf.device)
    faces = [
        number[n_triangles == n].gather(1, table[case[n_triangles == n], : 3 * n]).reshape(-1, 3) for n in (1, 2)
    ]
    s, p = sdf[edges], vertices[edges]
    weight = torch.stack([-s[:, 1], s[:, 0]], -1) / (s[:, 0] - s[:, 1])[:, None]
    return (p * weight[..., None]).sum(1), torch.cat(faces)


def marching_tets_dense_reference(sdf, lower=(-0.5, -0.5, -0.5), upper=(0.5, 0.5, 0.5)):
    grid = cube_tet_grid(sdf.shape, lower, upper, sdf.dtype).to(sdf.device)
    return marching_tets_reference(sdf.flatten(), grid.vertices, grid)
