"""Gaussian splatting in plain PyTorch, pixel by pixel: the definition that every kernel is tested against."""
import torch
from torch import Tensor

from asset3d.ops._gaussian_types import ALPHA_MIN, ProjectedGaussians

CONSTANT = 0.28209479177387814
"""The harmonic of degree 0: a colour c is stored as (c - 0.5) / CONSTANT."""


def project_gaussians_reference(means, quats, scales, opacities, world_to_camera, intrinsics, resolution, *, near=0.01,
                                far=1e10, dilation=0.3, normalize_quats=True, antialiased=False, alpha_min=ALPHA_MIN):
    height, width = resolution
    given = torch.cat([means, quats, scales, opacities[:, None]], 1).isfinite().all(1)
    if normalize_quats:
        given = given & (quats.square().sum(-1) > 0)
    axes = world_to_camera[:, :3] * world_to_camera.new_tensor([1, -1, -1])[:, None]  # y down, z forward
    x, y, z = (axes[:, :, :3] @ torch.where(given[:, None], means, 0).T + axes[:, :, 3:]).unbind(1)  # (B, N)
    in_depth = (z > near) & (z < far)
    z = torch.where(in_depth, z, 1)
    fx, fy, cx, cy = intrinsics[:, :, None].unbind(1)
    mean_x, mean_y = fx * x / z + cx, fy * y / z + cy
    margin_x, margin_y = 0.15 * width / fx, 0.15 * height / fy
    ratio_x = torch.minimum(torch.maximum(x / z, -cx / fx - margin_x), (width - cx) / fx + margin_x)
    ratio_y = torch.minimum(torch.maximum(y / z, -cy / fy - margin_y), (height - cy) / fy + margin_y)
    zero = torch.zeros_like(z)
    jacobian = torch.stack([fx / z, zero, -fx / z * ratio_x, zero, fy / z, -fy / z * ratio_y], -1).unflatten(-1, (2, 3))
    safe = quats.new_tensor([1.0, 0, 0, 0])
    rotation = _rotation(torch.where(given[:, None], quats, safe), normalize_quats)
    axes_of_each = rotation * torch.where(given[:, None], scales, 1)[:, None]  # (N, 3, 3)
    shape = jacobian @ axes[:, None, :, :3] @ axes_of_each  # (B, N, 2, 3)
    undilated = shape @ shape.transpose(-1, -2)
    covariance = undilated + dilation * torch.eye(2, dtype=means.dtype, device=means.device)
    determinant = torch.linalg.det(covariance)
    invertible = determinant > 0
    determinant = torch.where(invertible, determinant, 1)
    xx, xy, yy = covariance[..., 0, 0], covariance[..., 0, 1], covariance[..., 1, 1]
    conics = torch.stack([yy, -xy, xx], -1) / determinant[..., None]
    opacity = torch.where(given, opacities, 0).expand_as(z)
    if antialiased:
        area = torch.linalg.det(undilated) / determinant
        opacity = opacity * torch.where(area > 1e-12, area.clamp(min=1e-12).sqrt(), 0)
    reach = 2 * (opacity.detach() / alpha_min).clamp(min=1).log()
    radii = (reach[..., None] * torch.stack([xx, yy], -1).detach()).sqrt()
    drawable = invertible & (radii < 1e7).all(-1)
    shows = (in_depth & (opacity >= alpha_min) & (mean_x + radii[..., 0] > 0) & (mean_x - radii[..., 0] < width)
             & (mean_y + radii[..., 1] > 0) & (mean_y - radii[..., 1] < height))
    drawn = given & drawable & shows
    culled = torch.where(given & (drawable | ~in_depth), 0, -1).to(means.dtype)
    keep = lambda value: torch.where(drawn.reshape(*drawn.shape, *[1] * (value.dim() - 2)), value, 0)
    return ProjectedGaussians(keep(torch.stack([mean_x, mean_y], -1)), keep(conics), keep(z), keep(opacity),
                              torch.where(drawn[..., None], radii, culled[..., None]))


def _rotation(quats: Tensor, normalize: bool) -> Tensor:
    quats = torch.nn.functional.normalize(quats, dim=-1) if normalize else quats
    w, x, y, z = quats.unbind(-1)
    rows = [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y),
            2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x),
            2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)]
    return torch.stack(rows, -1).unflatten(-1, (3, 3))


def blend_gaussians_reference(projected, colors, resolution, *, background=None, alpha_max=0.99, alpha_min=ALPHA_MIN,
                              stop_transmittance=1e-4, max_intersections=None):
    height, width = resolution
    like = projected.means_2d
    rows = torch.arange(height, dtype=like.dtype, device=like.device)[:, None] + 0.5
    columns = torch.arange(width, dtype=like.dtype, device=like.device) + 0.5
    images = []
    for b in range(like.shape[0]):
        values = torch.cat([colors if colors.dim() == 2 else colors[b], projected.depths[b, :, None]], -1)
        transmittance = like.new_ones(height, width)
        live = torch.ones_like(transmittance, dtype=torch.bool)
        total = like.new_zeros(height, width, values.shape[-1])
        visible = projected.radii[b, :, 0] > 0
        for i in projected.depths[b].detach().argsort(stable=True):
            if not visible[i]:
                continue
            dx, dy = columns - projected.means_2d[b, i, 0], rows - projected.means_2d[b, i, 1]
            xx, xy, yy = projected.conics[b, i]
            alpha = projected.opacities[b, i] * torch.exp(-0.5 * (xx * dx * dx + yy * dy * dy) - xy * dx * dy)
            shows = live & (alpha >= alpha_min)
            alpha = alpha.clamp(max=alpha_max)
            rest = transmittance * (1 - alpha)
            live = live & ~(shows & (rest <= stop_transmittance))
            shows = shows & live
            total = total + torch.where(shows, transmittance * alpha, 0)[..., None] * values[i]
            transmittance = torch.where(shows, rest, transmittance)
        opacity = 1 - transmittance
        depth = torch.where(opacity > 0, total[..., -1] / torch.where(opacity > 0, opacity, 1), 0)
        light = total[..., :-1] if background is None else total[..., :-1] + transmittance[..., None] * background
        images.append((light, opacity[..., None], depth[..., None]))
    if not images:
        return tuple(like.new_zeros(0, height, width, c) for c in (colors.shape[-1], 1, 1))
    return tuple(torch.stack(parts) for parts in zip(*images))


def spherical_harmonics_reference(coefficients, directions, degree):
    directions = directions if directions.dim() == 3 else directions[None]
    basis = harmonics_basis(directions, degree)
    return (torch.einsum("bnk,nkc->bnc", basis, coefficients[:, : (degree + 1) ** 2]) + 0.5).clamp(min=0)


def harmonics_basis(directions, degree):
    """Real spherical harmonics of unit directions, (..., 3) to (..., (degree + 1)^2), terms of one degree from m = -l
    to l (Kerbl et al. 2023; also in KHR_gaussian_splatting). The constants are sqrt of rational multiples of 1 / pi,
    such as sqrt(3 / (4 pi))."""
    x, y, z = directions.unbind(-1)
    values = [torch.full_like(x, CONSTANT)]
    if degree > 0:
        values += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree > 1:
        xx, yy, zz = x * x, y * y, z * z
        values += [1.0925484305920792 * x * y, -1.0925484305920792 * y * z, 0.31539156525252005 * (2 * zz - xx - yy),
                   -1.0925484305920792 * x * z, 0.5462742152960396 * (xx - yy)]
    if degree > 2:
        values += [-0.5900435899266435 * y * (3 * xx - yy), 2.890611442640554 * x * y * z,
                   -0.4570457994644658 * y * (4 * zz - xx - yy), 0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
                   -0.4570457994644658 * x * (4 * zz - xx - yy), 1.445305721320277 * z * (xx - yy),
                   -0.5900435899266435 * x * (xx - 3 * yy)]
    return torch.stack(values, -1)
