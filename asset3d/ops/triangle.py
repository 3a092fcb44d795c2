"""Differentiable triangle rendering in modular steps (Laine et al. 2020): rasterize, interpolate, texture, antialias.

Letters: B images, V vertices, F faces, H x W pixels, A attributes, C channels. Positions are in clip space,
(x, y, z, w); row 0 of an image is y = -1 and column 0 is x = -1, so that an image whose row 0 is the top is drawn with
y pointing down. A face is drawn whichever way it is turned. Face numbers are exact in float32, hence F < 2^24.
"""
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int32
from torch import Tensor

import asset3d.ops._triangle_autograd  # noqa: F401  registers fakes and derivatives
from asset3d.ops._check import check, check_float
from asset3d.ops._triangle_reference import antialias_reference as antialias_reference
from asset3d.ops._triangle_reference import face_topology_reference as face_topology_reference
from asset3d.ops._triangle_reference import interpolate_reference as interpolate_reference
from asset3d.ops._triangle_reference import mip_level_count as mip_level_count
from asset3d.ops._triangle_reference import rasterize_reference as rasterize_reference
from asset3d.ops._triangle_reference import texture_reference as texture_reference

MAX_FACES = (1 << 24) - 1
MAX_SIDE = 16384
FILTERS = ("nearest", "linear", "linear-mipmap-nearest", "linear-mipmap-linear")  # as enum Filter in texture.h
BOUNDARIES = ("wrap", "clamp", "zero")  # as enum Boundary


def rasterize(
    positions: Float[Tensor, "B V 4"], faces: Int32[Tensor, "F 3"], resolution: tuple[int, int]
) -> tuple[Float[Tensor, "B H W 4"], Float[Tensor, "B H W 4"]]:
    """Find the nearest face at every pixel centre.

    Nearest is smallest z/w; of faces at the same depth, the one with the lowest number. Only -1 <= z/w <= 1 is drawn.
    Faces that reach behind the camera (w <= 0) are drawn exactly, without clipping. Differentiable in positions
    through u, v, z/w and all of rast_db; the face number has no gradient (see antialias for what moves silhouettes).

    Args:
        positions: Vertices in clip space, (B, V, 4).
        faces: Vertex indices, (F, 3), int32.
        resolution: Height and width of the images.

    Returns:
        rast, (B, H, W, 4): perspective-correct weights u of corner 0 and v of corner 1, depth z/w, face number + 1;
        all 0 where there is nothing. rast_db, (B, H, W, 4): du/dX, du/dY, dv/dX, dv/dY per pixel.

    Raises:
        ValueError: a shape, an index or a size is out of range, or a position is not finite. TypeError: a dtype.
    """
    check("rasterize", positions=(positions, "B V 4"))
    check_float("rasterize", positions=positions)
    _check_faces("rasterize", faces, positions, positions.shape[1])
    _check_finite("rasterize", positions=positions)
    height, width = resolution
    if not (0 <= height <= MAX_SIDE and 0 <= width <= MAX_SIDE):
        raise ValueError(f"rasterize: `resolution` must be between 0 and {MAX_SIDE}, got {tuple(resolution)}")
    return torch.ops.asset3d.rasterize(positions.contiguous(), faces.contiguous(), height, width)


def interpolate(
    attributes: Float[Tensor, "B V A"],
    rast: Float[Tensor, "B H W 4"],
    faces: Int32[Tensor, "F 3"],
    rast_db: Float[Tensor, "B H W 4"] | None = None,
    diff_attributes: Sequence[int] | str | None = None,
) -> tuple[Float[Tensor, "B H W A"], Float[Tensor, "B H W D"]]:
    """Interpolate vertex attributes over the visible faces; 0 where there is none.

    Args:
        attributes: Values at the vertices, (B or 1, V, A).
        rast: From rasterize, (B, H, W, 4).
        faces: Vertex indices, (F, 3), int32; as many faces, in the same order, as were rasterized, though the indices
            may differ (texture coordinates often have their own).
        rast_db: From rasterize; needed for pixel derivatives.
        diff_attributes: Attributes whose derivatives are wanted: indices, or "all".

    Returns:
        out, (B, H, W, A), and out_da, (B, H, W, 2 * len(diff_attributes)): for each chosen attribute its change per
        pixel along X and along Y.

    Raises:
        ValueError: a shape or an index is out of range, or rast_db is missing. TypeError: a dtype.
    """
    op = "interpolate"
    check(op, attributes=(attributes, "_ V A"), rast=(rast, "B H W 4"))
    check_float(op, attributes=attributes)
    _check_batch(op, "attributes", attributes, rast)
    _check_finite(op, rast=rast)
    _check_faces(op, faces, attributes, attributes.shape[1])
    chosen = _chosen_attributes(op, diff_attributes, attributes.shape[2])
    if rast_db is None:
        if chosen:
            raise ValueError(f"{op}: `diff_attributes` needs `rast_db`, the second output of rasterize")
        rast_db = rast.new_empty(0)
    elif chosen:
        check(op, rast=(rast, "B H W 4"), rast_db=(rast_db, "B H W 4"))
    selection = torch.tensor(chosen, dtype=torch.int64, device=rast.device)
    return torch.ops.asset3d.interpolate(
        attributes.contiguous(), rast.contiguous(), faces.contiguous(), rast_db.contiguous(), selection
    )


def _chosen_attributes(op: str, diff_attributes: Sequence[int] | str | None, n_attributes: int) -> list[int]:
    """Indices of the attributes whose derivatives are wanted."""
    chosen = list(range(n_attributes) if diff_attributes == "all" else diff_attributes or ())
    for index in chosen:
        if not 0 <= index < n_attributes:
            raise ValueError(f"{op}: `diff_attributes` must be in [0, {n_attributes}), got {index}")
    return chosen


def texture(
    tex: Float[Tensor, "B TH TW C"],
    uv: Float[Tensor, "B H W 2"],
    uv_da: Float[Tensor, "B H W 4"] | None = None,
    filter_mode: str = "linear",
    boundary_mode: str = "wrap",
    max_mip_level: int | None = None,
) -> Float[Tensor, "B H W C"]:
    """Look up a texture at every pixel. Differentiable in the texture, uv, and (trilinear) the footprint uv_da.

    u runs along rows and v along columns; (0, 0) is the outer corner of texel [0, 0], whose centre is at 0.5 / size.
    Mip levels average 2 x 2 texels; the level is the base-2 logarithm of the longest axis of the pixel's footprint.

    Args:
        tex: Texels, (B or 1, height, width, C).
        uv: Where to look, (B, H, W, 2).
        uv_da: du/dX, du/dY, dv/dX, dv/dY, (B, H, W, 4), from interpolate; mip-maps need it.
        filter_mode: "nearest", "linear", "linear-mipmap-nearest" (the nearest level) or "linear-mipmap-linear".
        boundary_mode: What lies outside [0, 1]: "wrap" repeats, "clamp" continues the border, "zero" is 0.
        max_mip_level: Highest level to use. By default the texture is halved until a side is odd, or to one texel.

    Returns:
        Colours, (B, H, W, C).

    Raises:
        ValueError: a shape, a mode or a level is out of range, or a coordinate is not finite. TypeError: a dtype.
    """
    _check_texture(tex, uv, filter_mode, boundary_mode)
    tex, n_levels = tex.contiguous(), 1
    if "mipmap" in filter_mode:
        _check_footprint(uv, uv_da, filter_mode)
        n_levels += mip_level_count(*tex.shape[1:3], max_mip_level)
    else:
        uv_da = uv.new_empty(0)
    mips = torch.ops.asset3d.mip_chain(tex, n_levels)
    modes = n_levels, FILTERS.index(filter_mode), BOUNDARIES.index(boundary_mode)
    return torch.ops.asset3d.texture(tex, mips, uv.contiguous(), uv_da.contiguous(), *modes)


def _check_texture(tex: Tensor, uv: Tensor, filter_mode: str, boundary_mode: str) -> None:
    op = "texture"
    check(op, tex=(tex, "_ TH TW C"), uv=(uv, "B H W 2"))
    check_float(op, tex=tex)
    _check_batch(op, "tex", tex, uv)
    for name, value, known in (("filter_mode", filter_mode, FILTERS), ("boundary_mode", boundary_mode, BOUNDARIES)):
        if value not in known:
            raise ValueError(f"{op}: `{name}` must be one of {', '.join(known)}, got {value!r}")
    height, width = tex.shape[1:3]
    if not (1 <= height <= MAX_SIDE and 1 <= width <= MAX_SIDE):
        raise ValueError(f"{op}: `tex` must be 1 to {MAX_SIDE} texels high and wide, got {height} x {width}")
    _check_finite(op, uv=uv)


def _check_footprint(uv: Tensor, uv_da: Tensor | None, filter_mode: str) -> None:
    op = "texture"
    if uv_da is None:
        raise ValueError(f"{op}: `filter_mode` {filter_mode!r} needs `uv_da`, the second output of interpolate")
    check(op, uv=(uv, "B H W 2"), uv_da=(uv_da, "B H W 4"))
    _check_finite(op, uv_da=uv_da)


def face_topology(faces: Int32[Tensor, "F 3"], vertices: Float[Tensor, "V 3"] | None = None) -> Int32[Tensor, "F 3"]:
    """Connect the half-edges of a mesh for antialias; reuse the result while the faces stay the same.

    Half-edge 3 f + k runs from corner k to corner k + 1 of face f. Those that join the same two vertices form a ring.

    Args:
        faces: Vertex indices, (F, 3), int32.
        vertices: Vertex positions, (V, 3). When given, vertices at exactly the same place count as one, so that
            texture seams, at which vertices are doubled, are not taken for borders.

    Returns:
        The next half-edge of each half-edge's ring, (F, 3), int32: itself at a border.
    """
    check("face_topology", faces=(faces, "F 3"))
    n_vertices = int(faces.max()) + 1 if vertices is None and faces.numel() else 0
    if vertices is not None:
        check("face_topology", vertices=(vertices, "V D"))
        check_float("face_topology", vertices=vertices)
        if vertices.device != faces.device:
            raise ValueError(f"face_topology: `vertices` is on {vertices.device} but `faces` is on {faces.device}")
        n_vertices = vertices.shape[0]
    _check_faces("face_topology", faces, faces, n_vertices)
    if vertices is not None and n_vertices:
        faces = torch.unique(vertices, dim=0, return_inverse=True)[1].to(torch.int32)[faces.long()]
    if faces.device.type == "cpu":
        return torch.ops.asset3d.face_topology(faces.contiguous(), n_vertices)
    return face_topology_reference(faces)


def antialias(
    color: Float[Tensor, "B H W C"],
    rast: Float[Tensor, "B H W 4"],
    positions: Float[Tensor, "B V 4"],
    faces: Int32[Tensor, "F 3"],
    topology: Int32[Tensor, "F 3"] | None = None,
) -> Float[Tensor, "B H W C"]:
    """Blend pixels across silhouettes, by how much of a pixel the silhouette cuts off.

    This is what makes the image differentiable in where silhouettes lie: gradients reach color and positions. Edges
    between faces that continue each other are left alone.

    Args:
        color: Shaded image, (B, H, W, C).
        rast: From rasterize with the same positions and faces, (B, H, W, 4).
        positions: Vertices in clip space, (B, V, 4).
        faces: Vertex indices, (F, 3), int32.
        topology: face_topology(faces), computed when not given.

    Returns:
        The blended image, (B, H, W, C).

    Raises:
        ValueError: a shape or an index is out of range, or a position is not finite. TypeError: a dtype.
    """
    op = "antialias"
    check(op, color=(color, "B H W C"), rast=(rast, "B H W 4"), positions=(positions, "B V 4"))
    check_float(op, color=color)
    _check_faces(op, faces, positions, positions.shape[1])
    _check_finite(op, rast=rast, positions=positions)
    if topology is None:
        topology = face_topology(faces)
    check(op, faces=(faces, "F 3"), topology=(topology, "F 3"))
    positions, faces = positions.contiguous(), faces.contiguous()
    with torch.no_grad():
        crossings = torch.ops.asset3d.antialias_analyze(
            rast.detach().contiguous(), positions.detach(), faces, topology.contiguous()
        )
    return torch.ops.asset3d.antialias(color.contiguous(), positions, faces, crossings)


def _check_batch(op: str, name: str, tensor: Tensor, image: Tensor) -> None:
    if tensor.shape[0] not in (1, image.shape[0]):
        raise ValueError(f"{op}: `{name}` must have batch 1 or {image.shape[0]}, got {tensor.shape[0]}")


def _check_faces(op: str, faces: Tensor, like: Tensor, n_vertices: int) -> None:
    check(op, faces=(faces, "F 3"))
    if faces.dtype != torch.int32:
        raise TypeError(f"{op}: `faces` must be torch.int32, got {faces.dtype}; use faces.to(torch.int32)")
    if faces.device != like.device:
        raise ValueError(f"{op}: `faces` is on {faces.device} but the vertices are on {like.device}")
    if faces.shape[0] > MAX_FACES:
        raise ValueError(f"{op}: `faces` must have at most {MAX_FACES} rows, got {faces.shape[0]}")
    if torch.compiler.is_compiling() or faces.numel() == 0:
        return  # the kernel looks too, with a terser message
    low, high = (int(v) for v in torch.aminmax(faces))
    if low < 0 or high >= n_vertices:
        raise ValueError(f"{op}: `faces` must index {n_vertices} vertices, got indices from {low} to {high}")


def _check_finite(op: str, **tensors: Tensor) -> None:
    for name, tensor in tensors.items():
        if tensor.device.type != "cpu" or torch.compiler.is_compiling() or tensor.numel() == 0:
            continue
        low, high = torch.aminmax(tensor.detach())
        if not (torch.isfinite(low) and torch.isfinite(high)):
            raise ValueError(f"{op}: `{name}` has values that are not finite")
