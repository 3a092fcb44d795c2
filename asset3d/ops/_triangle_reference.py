"""The triangle operators in plain PyTorch: the definitions that every kernel is tested against. Slow and plain."""
import torch


def _pixel_centers(size: int, like: torch.Tensor) -> torch.Tensor:
    return (torch.arange(size, dtype=like.dtype, device=like.device) + 0.5) * 2 / size - 1


def _edge_functions(corners: torch.Tensor, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Edge functions (..., 3) of corners (..., 3, 4) at the point (x, y) of the image plane."""
    sx = corners[..., 0] - x[..., None] * corners[..., 3]
    sy = corners[..., 1] - y[..., None] * corners[..., 3]
    return sx.roll(-1, -1) * sy.roll(-2, -1) - sx.roll(-2, -1) * sy.roll(-1, -1)


def rasterize_reference(positions, faces, resolution):
    """The same function as rasterize, (B, H W, F) values at once."""
    height, width = resolution
    x = _pixel_centers(width, positions)[None, :].expand(height, width).reshape(-1)
    y = _pixel_centers(height, positions)[:, None].expand(height, width).reshape(-1)
    outputs = [_rasterize_one(p, faces, x, y, 2 / width, 2 / height) for p in positions]
    shape = (len(positions), height, width, 4)
    if not outputs:
        return positions.new_zeros(shape), positions.new_zeros(shape)
    return tuple(torch.stack(part).reshape(shape) for part in zip(*outputs))


def _rasterize_one(positions, faces, x, y, step_x, step_y):
    if not len(faces):
        return positions.new_zeros(len(x), 4), positions.new_zeros(len(x), 4)
    face = _nearest_face(positions.detach()[faces.long()], x, y)
    hit = face >= 0
    corners = positions[faces.long()[face.clamp(min=0)]]
    e = _edge_functions(corners, x, y)
    total = torch.where(hit, e.sum(-1), 1)
    u, v = e[:, 0] / total, e[:, 1] / total
    over_w = torch.where(hit, (e * corners[..., 3]).sum(-1), 1)
    depth = (e * corners[..., 2]).sum(-1) / over_w
    rast = torch.stack([u, v, depth, (face + 1).to(u.dtype)], -1) * hit[:, None]
    # The edge functions are bilinear in the sheared corners: differences over a pixel need no limit.
    w = corners[..., 3]
    sx, sy = corners[..., 0] - x[:, None] * w, corners[..., 1] - y[:, None] * w
    e_dx = w.roll(-2, -1) * sy.roll(-1, -1) - w.roll(-1, -1) * sy.roll(-2, -1)
    e_dy = w.roll(-1, -1) * sx.roll(-2, -1) - w.roll(-2, -1) * sx.roll(-1, -1)
    slopes = [
        (de[:, i] - weight * de.sum(-1)) / total * step
        for i, weight in ((0, u), (1, v)) for de, step in ((e_dx, step_x), (e_dy, step_y))
    ]
    return rast, torch.stack(slopes, -1) * hit[:, None]


def _nearest_face(corners, x, y):
    """Number of the nearest face at each point, or -1; corners (F, 3, 4)."""
    e = _edge_functions(corners[None], x[:, None], y[:, None])
    total, over_w = e.sum(-1), (e * corners[..., 3]).sum(-1)
    inside = ((e >= 0).all(-1) & (total > 0) & (over_w > 0)) | ((e <= 0).all(-1) & (total < 0) & (over_w < 0))
    depth = (e * corners[..., 2]).sum(-1) / torch.where(inside, over_w, 1)
    visible = inside & (depth >= -1) & (depth <= 1)
    depth = torch.where(visible, depth, float("inf"))
    nearest = depth.min(-1, keepdim=True).values
    first = (depth == nearest).to(torch.uint8).argmax(-1)  # the lowest number among equals
    return torch.where(visible.any(-1), first, -1)


def interpolate_reference(attributes, rast, faces, rast_db=None, diff_attributes=None):
    """The same function as interpolate."""
    batch, height, width, _ = rast.shape
    n_attributes = attributes.shape[2]
    chosen = list(range(n_attributes)) if diff_attributes == "all" else list(diff_attributes or ())
    hit = (rast[..., 3] > 0)[..., None]
    if not len(faces):
        zero = attributes.sum() * 0
        return zero.expand(batch, height, width, n_attributes), zero.expand(batch, height, width, 2 * len(chosen))
    corner = faces.long()[(rast[..., 3].detach().long() - 1).clamp(min=0)]  # (B, H, W, 3)
    which = torch.arange(batch, device=rast.device).clamp(max=attributes.shape[0] - 1)[:, None, None]
    p, q, r = (attributes[which, corner[..., i]] for i in range(3))
    u, v = rast[..., :1], rast[..., 1:2]
    out = (u * p + v * q + (1 - u - v) * r) * hit
    if not chosen:
        return out, out.new_zeros(batch, height, width, 0)
    along_u, along_v = (p - r)[..., chosen], (q - r)[..., chosen]
    slope_x = rast_db[..., 0:1] * along_u + rast_db[..., 2:3] * along_v
    slope_y = rast_db[..., 1:2] * along_u + rast_db[..., 3:4] * along_v
    return out, (torch.stack([slope_x, slope_y], -1) * hit[..., None]).flatten(-2)


def face_topology_reference(faces):
    """The same function as face_topology without vertices."""
    ends = torch.stack([faces, faces.roll(-1, 1)], -1).reshape(-1, 2).long()
    if not len(ends):
        return faces.clone()
    key = ends.min(1).values * (ends.max() + 1) + ends.max(1).values
    key, order = torch.sort(key, stable=True)
    place = torch.arange(len(key), device=faces.device)
    starts = torch.ones_like(key, dtype=torch.bool)
    starts[1:] = key[1:] != key[:-1]
    first = torch.where(starts, place, 0).cummax(0).values
    following = place + 1
    last = torch.cat([starts[1:], starts.new_ones(1)])
    following = torch.where(last, first, following)
    ring = torch.empty_like(order)
    ring[order] = order[following]
    return ring.reshape(-1, 3).to(torch.int32)


def mip_levels_reference(texture, n_levels):
    """The texture and its smaller levels, each the average of the one before."""
    levels = [texture]
    for _ in range(n_levels - 1):
        _, height, width, _ = levels[-1].shape
        window = (min(height, 2), min(width, 2))
        levels.append(torch.nn.functional.avg_pool2d(levels[-1].movedim(3, 1), window, window).movedim(1, 3))
    return levels


def _texel_index(index, size, boundary):
    outside = (index < 0) | (index >= size)
    if boundary == "wrap":
        return index % size, torch.zeros_like(outside)
    return index.clamp(0, size - 1), outside & (boundary == "zero")


def _look_up(texture, uv, nearest, boundary):
    """One level of a texture (B or 1, H, W, C) at uv (B, h, w, 2)."""
    size = torch.tensor([texture.shape[2], texture.shape[1]], dtype=uv.dtype, device=uv.device)
    at = (uv - uv.detach().floor() if boundary == "wrap" else uv) * size - (0 if nearest else 0.5)
    lower = at.detach().floor()
    fraction = at - lower
    batch = torch.arange(len(uv), device=uv.device).clamp(max=len(texture) - 1)[:, None, None]
    out = 0
    for corner in [(0, 0)] if nearest else [(0, 0), (1, 0), (0, 1), (1, 1)]:
        x, x_out = _texel_index(lower[..., 0].long() + corner[0], texture.shape[2], boundary)
        y, y_out = _texel_index(lower[..., 1].long() + corner[1], texture.shape[1], boundary)
        weight = 1
        if not nearest:
            shares = [fraction[..., i] if corner[i] else 1 - fraction[..., i] for i in range(2)]
            weight = (shares[0] * shares[1])[..., None]
        out = out + torch.where((x_out | y_out)[..., None], 0, weight * texture[batch, y, x])
    return out


def mip_level_count(height: int, width: int, max_mip_level: int | None = None) -> int:
    """Levels below a texture of this size: at most max_mip_level, which must be possible."""
    possible = 0
    while height * width > 1 and all(side == 1 or side % 2 == 0 for side in (height, width)):
        height, width = max(height // 2, 1), max(width // 2, 1)
        possible += 1
    if max_mip_level is None:
        return possible
    if not 0 <= max_mip_level <= possible:
        raise ValueError(f"texture: `max_mip_level` must be between 0 and {possible} for this size, "
                         f"got {max_mip_level}")
    return max_mip_level


def texture_reference(texture, uv, uv_da=None, filter_mode="linear", boundary_mode="wrap", max_mip_level=None):
    """The same function as texture."""
    _, height, width, _ = texture.shape
    if filter_mode in ("nearest", "linear"):
        return _look_up(texture, uv, filter_mode == "nearest", boundary_mode)
    levels = mip_levels_reference(texture, 1 + mip_level_count(height, width, max_mip_level))
    jacobian = uv_da.unflatten(-1, (2, 2)) * uv_da.new_tensor([[width], [height]])
    longest = torch.linalg.matrix_norm(jacobian, ord=2)
    level = torch.log2(longest.clamp(min=1e-30)).clamp(0, len(levels) - 1)
    if filter_mode == "linear-mipmap-nearest":
        weights = [((level + 0.5).floor() == i).to(uv.dtype) for i in range(len(levels))]
    else:
        weights = [(1 - (level - i).abs()).clamp(min=0) for i in range(len(levels))]
    return sum(w[..., None] * _look_up(t, uv, False, boundary_mode) for w, t in zip(weights, levels))


def antialias_reference(color, rast, positions, faces, topology=None):
    """The same function as antialias: a walk per pair of pixels in Python, then a blend that autograd can reverse."""
    topology = face_topology_reference(faces) if topology is None else topology
    out = color.clone()
    half = (rast.shape[2] / 2, rast.shape[1] / 2)
    for first, second, edge in _silhouettes(rast.detach(), positions.detach(), faces, topology):
        axis = 0 if first[1] == second[1] else 1
        corners = positions[first[0]][[int(faces[edge // 3, edge % 3]), int(faces[edge // 3, (edge + 1) % 3])]]
        distance = _crossing(corners, first, axis, half) * (second[2 - axis] - first[2 - axis])
        cut = (distance - 0.5).clamp(min=0), (0.5 - distance).clamp(min=0)
        change = color[first] - color[second]
        out = out.index_put(tuple(torch.tensor([i]) for i in second), (cut[0] * change)[None], accumulate=True)
        out = out.index_put(tuple(torch.tensor([i]) for i in first), (-cut[1] * change)[None], accumulate=True)
    return out


def _sheared(corners, pixel, half):
    x = (pixel[2] + 0.5) / half[0] - 1
    y = (pixel[1] + 0.5) / half[1] - 1
    return corners[..., 0] - x * corners[..., 3], corners[..., 1] - y * corners[..., 3], corners[..., 3]


def _crossing(corners, pixel, axis, half):
    """Signed pixels along an axis from a pixel centre to an edge (2, 4)."""
    x, y, w = _sheared(corners, pixel, half)
    along, across = (x, y) if axis == 0 else (y, x)
    return half[axis] * (along[0] * across[1] - along[1] * across[0]) / (w[0] * across[1] - w[1] * across[0])


def _silhouettes(rast, positions, faces, topology):
    """(first pixel, second pixel, half-edge) of every pair of neighbours that a silhouette separates."""
    batch, height, width, _ = rast.shape
    for b in range(batch):
        corners = positions[b][faces.long()]
        facing = torch.where(torch.linalg.det(corners[..., [0, 1, 3]]) < 0, -1, 1).tolist()
        mesh = corners, facing, faces.tolist(), topology.reshape(-1).tolist()
        for y in range(height):
            for x in range(width):
                for other in ((b, y, x + 1), (b, y + 1, x)):
                    if other[1] < height and other[2] < width:
                        yield from _pair(rast, mesh, (b, y, x), other)


def _pair(rast, mesh, here, there):
    if rast[here][3] == rast[there][3]:
        return
    swap = rast[here][3] == 0 or (rast[there][3] > 0 and rast[there][2] < rast[here][2])
    for first, second in ((there, here), (here, there)) if swap else ((here, there), (there, here)):
        start, goal = int(rast[first][3]) - 1, int(rast[second][3]) - 1
        if start < 0:
            return
        edge = _walk(mesh, first, second, start, goal, (rast.shape[2] / 2, rast.shape[1] / 2))
        if edge is not None:
            yield first, second, edge
            return


def _walk(mesh, first, second, face, goal, half):
    corners, facing, faces, ring = mesh
    axis = 0 if first[1] == second[1] else 1
    direction = second[2 - axis] - first[2 - axis]
    entry = None
    for _ in range(64):
        x, y, w = _sheared(corners[face], first, half)
        across = y if axis == 0 else x
        exits = []
        for k in range(3):
            pair = [k, (k + 1) % 3]
            if k != entry and bool(across[pair[0]] >= 0) != bool(across[pair[1]] >= 0):
                exits.append((float(_crossing(corners[face][pair], first, axis, half)) * direction, k))
        if not exits or not max(exits)[0] <= 1:
            return None
        distance, k = max(exits)
        p, q = k, (k + 1) % 3
        if bool(w[p] * across[q] - w[q] * across[p] > 0) != bool(across[q] > across[p]):
            return None
        edge, following = 3 * face + k, ring[3 * face + k]
        while following != edge:
            same_direction = faces[following // 3][following % 3] == faces[face][k]
            if same_direction != (facing[following // 3] == facing[face]):
                break
            following = ring[following]
        if following == edge:
            normal = (y[p] * w[q] - y[q] * w[p]).abs() / half[0], (x[q] * w[p] - x[p] * w[q]).abs() / half[1]
            steep = bool(normal[0] >= normal[1])
            return edge if steep == (axis == 0) and distance >= 0 else None
        face, entry = following // 3, following % 3
        if face == goal:
            return None
    return None
