"""Volume rendering along rays: the box, samples in occupied cells, compositing. R rays, S samples, C channels.

The samples of all rays are packed one after another; `first[r]` is where those of ray r start.
"""
from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from asset3d import _C  # noqa: F401  registers torch.ops.asset3d.*
from asset3d.ops._check import check, refuse_second_derivative


class RaySamples(NamedTuple):
    """Intervals along rays, packed: ray r owns the samples `first[r]` to `first[r + 1]`, front to back."""

    t_start: Float[Tensor, "S"]
    t_end: Float[Tensor, "S"]
    ray: Int64[Tensor, "S"]
    first: Int64[Tensor, "R1"]

    @property
    def t(self) -> Float[Tensor, "S"]:
        """The middle of every interval, at which a field is evaluated."""
        return (self.t_start + self.t_end) / 2


def ray_box(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    lower: Float[Tensor, "3"] | Sequence[float],
    upper: Float[Tensor, "3"] | Sequence[float],
) -> tuple[Float[Tensor, "R"], Float[Tensor, "R"]]:
    """Where rays enter and leave an axis-aligned box; differentiable in everything.

    Args:
        origins: Where the rays start, (R, 3).
        directions: Where they go, (R, 3), of any length: distances count in lengths of the direction.
        lower: Smallest corner of the box, (3,).
        upper: Largest corner of the box, (3,).

    Returns:
        t_near and t_far, (R,): the part of the ray with t >= 0 inside the box (t_near is 0 for a ray that starts in
        it); 0 and -1 for a ray that misses. A ray along a face is inside. A zero direction misses.

    Raises:
        ValueError: a shape or device is wrong. TypeError: dtypes differ. RuntimeError: a value is not finite (CPU).
    """
    lower, upper = _corners("ray_box", origins, lower, upper)
    _check_rays("ray_box", origins, directions, lower, upper)
    return torch.ops.asset3d.ray_box(
        origins.contiguous(), directions.contiguous(), lower.contiguous(), upper.contiguous()
    )


def march_rays(
    origins: Float[Tensor, "R 3"],
    directions: Float[Tensor, "R 3"],
    occupancy: Bool[Tensor, "X Y Z"],
    lower: Float[Tensor, "3"] | Sequence[float],
    upper: Float[Tensor, "3"] | Sequence[float],
    step: float,
    offsets: Float[Tensor, "R"] | None = None,
    max_samples: int = 4096,
) -> RaySamples:
    """Place samples along rays, `step` apart, in the occupied cells of a grid that fills a box.

    The middle of sample k of a ray is t_near + (k + offset) * step, k = 0, 1, ...: with offsets drawn uniformly, every
    point of the ray is as likely to be sampled. A sample is kept if its middle is before t_far in an occupied cell.
    Positions carry no gradient: for one, evaluate at origins[ray] + t[:, None] * directions[ray].

    Args:
        origins: Where the rays start, (R, 3).
        directions: Where they go, (R, 3), of any length: distances count in lengths of the direction.
        occupancy: Which cells may hold something, (X, Y, Z), indexed by position along x, y and z.
        lower: Smallest corner of the grid, (3,).
        upper: Largest corner of the grid, (3,).
        step: Distance between samples, > 0. No ray is followed for more than 2^20 steps.
        offsets: Shift of the samples of each ray in steps, (R,), in [0, 1); None is 0.5 for all.
        max_samples: Samples kept per ray, the nearest ones; the rest is dropped.

    Returns:
        The packed samples.

    Raises:
        ValueError: a shape, device or number is wrong. TypeError: a dtype. RuntimeError: a value is not finite (CPU).
    """
    lower, upper = _corners("march_rays", origins, lower, upper)
    if offsets is None:
        offsets = torch.full_like(origins[:, 0], 0.5)
    _check_rays("march_rays", origins, directions, lower, upper, offsets=(offsets, "R"))
    _check_march(occupancy, origins, step, max_samples)
    tensors = (tensor.detach().contiguous() for tensor in (origins, directions, occupancy, lower, upper, offsets))
    return RaySamples(*torch.ops.asset3d.march_rays(*tensors, float(step), max_samples))


def _check_march(occupancy: Tensor, origins: Tensor, step: float, max_samples: int) -> None:
    check("march_rays", occupancy=(occupancy, "X Y Z"))
    if occupancy.dtype != torch.bool:
        raise TypeError(f"march_rays: `occupancy` must be torch.bool, got {occupancy.dtype}")
    if occupancy.device != origins.device:
        raise ValueError(f"march_rays: `occupancy` is on {occupancy.device} but `origins` is on {origins.device}")
    if 0 in occupancy.shape:
        raise ValueError(f"march_rays: `occupancy` must have at least one cell, got {tuple(occupancy.shape)}")
    if not 0 < step < float("inf"):
        raise ValueError(f"march_rays: `step` must be finite and > 0, got {step}")
    if max_samples < 1:
        raise ValueError(f"march_rays: `max_samples` must be >= 1, got {max_samples}")


def composite_rays(
    alpha: Float[Tensor, "S"], values: Float[Tensor, "S C"], first: Int64[Tensor, "R1"]
) -> tuple[Float[Tensor, "R C"], Float[Tensor, "R"], Float[Tensor, "S"]]:
    """Blend packed samples front to back: weight_i = alpha_i * prod_{j before i on the ray} (1 - alpha_j).

    Gradients of alpha and values from all three outputs, exact for alpha = 1 too; deterministic.

    Args:
        alpha: Opacity of each sample, (S,), in [0, 1].
        values: What the samples show: colours, depths, normals, ..., (S, C).
        first: Where the samples of each ray start, then S, (R + 1,) int64.

    Returns:
        accumulated: sum of weight * value of each ray, (R, C); opacity: sum of the weights, (R,);
        weights: of each sample, (S,).

    Raises:
        ValueError: a shape or device is wrong. TypeError: a dtype is wrong. RuntimeError: a value is not finite, or
        `first` does not rise from 0 to S (CPU).
    """
    check("composite_rays", alpha=(alpha, "S"), values=(values, "S C"))
    check("composite_rays", first=(first, "R"))
    if first.dtype != torch.int64:
        raise TypeError(f"composite_rays: `first` must be torch.int64, got {first.dtype}")
    if first.shape[0] == 0:
        raise ValueError("composite_rays: `first` must have one value more than there are rays, got none")
    if first.device != alpha.device:
        raise ValueError(f"composite_rays: `first` is on {first.device} but `alpha` is on {alpha.device}")
    return torch.ops.asset3d.composite_rays(alpha.contiguous(), values.contiguous(), first.contiguous())


def _corners(op: str, origins, lower, upper) -> list[Tensor]:
    """Corners of a box as tensors like `origins`, from tensors or three numbers each."""
    check(op, origins=(origins, "R 3"))
    corners = []
    for name, corner in (("lower", lower), ("upper", upper)):
        if not isinstance(corner, Tensor):
            if not isinstance(corner, Sequence):
                raise TypeError(f"{op}: `{name}` must be a tensor or three numbers, got {corner!r}")
            corner = origins.new_tensor([float(x) for x in corner])
        corners.append(corner)
    return corners


def _check_rays(op: str, origins, directions, lower, upper, **more) -> None:
    check(op, origins=(origins, "R 3"), directions=(directions, "R 3"), lower=(lower, "3"), upper=(upper, "3"), **more)


# Shapes without data


@torch.library.register_fake("asset3d::ray_box")
def _(origins, directions, lower, upper):
    return origins.new_empty(origins.shape[0]), origins.new_empty(origins.shape[0])


@torch.library.register_fake("asset3d::ray_box_backward")
def _(grad_near, grad_far, origins, directions, lower, upper):
    return tuple(origins.new_empty(origins.shape) for _ in range(4))


@torch.library.register_fake("asset3d::march_rays")
def _(origins, directions, occupancy, lower, upper, offsets, step, max_samples):
    n_samples = torch.library.get_ctx().new_dynamic_size()
    longs = {"dtype": torch.int64}
    return (
        origins.new_empty(n_samples),
        origins.new_empty(n_samples),
        origins.new_empty(n_samples, **longs),
        origins.new_empty(origins.shape[0] + 1, **longs),
    )


@torch.library.register_fake("asset3d::composite_rays")
def _(alpha, values, first):
    n_rays = first.shape[0] - 1
    return values.new_empty(n_rays, values.shape[1]), alpha.new_empty(n_rays), alpha.new_empty(alpha.shape)


@torch.library.register_fake("asset3d::composite_rays_backward")
def _(grad_accumulated, grad_opacity, grad_weights, alpha, values, first):
    return alpha.new_empty(alpha.shape), values.new_empty(values.shape)


# Derivatives


def _ray_box_save(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _ray_box_backward(ctx, grad_near, grad_far):
    gradients = torch.ops.asset3d.ray_box_backward(grad_near.contiguous(), grad_far.contiguous(), *ctx.saved_tensors)
    grad_origins, grad_directions, grad_lower, grad_upper = gradients
    return grad_origins, grad_directions, grad_lower.sum(0), grad_upper.sum(0)


def _composite_save(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _composite_backward(ctx, *grads):
    grads = (grad.contiguous() for grad in grads)
    return *torch.ops.asset3d.composite_rays_backward(*grads, *ctx.saved_tensors), None


torch.library.register_autograd("asset3d::ray_box", _ray_box_backward, setup_context=_ray_box_save)
torch.library.register_autograd("asset3d::composite_rays", _composite_backward, setup_context=_composite_save)
refuse_second_derivative("ray_box")
refuse_second_derivative("composite_rays")


# The same functions in plain PyTorch: the definition that every kernel is tested against


def ray_box_reference(origins, directions, lower, upper):
    lower, upper = _corners("ray_box", origins, lower, upper)
    parallel = directions == 0
    safe = torch.where(parallel, 1, directions)
    enter = (torch.where(directions > 0, lower, upper) - origins) / safe
    leave = (torch.where(directions > 0, upper, lower) - origins) / safe
    t_near = torch.where(parallel, 0, enter).amax(-1).clamp(min=0)
    t_far = torch.where(parallel, float("inf"), leave).amin(-1)
    outside = (parallel & ((origins < lower) | (origins > upper))).any(-1)
    miss = outside | parallel.all(-1) | (t_near > t_far)
    return torch.where(miss, 0, t_near), torch.where(miss, -1, t_far)


def march_rays_reference(origins, directions, occupancy, lower, upper, step, offsets=None, max_samples=4096):
    lower, upper = _corners("march_rays", origins, lower, upper)
    if offsets is None:
        offsets = torch.full_like(origins[:, 0], 0.5)
    step = origins.new_tensor(step)
    t_near, t_far = ray_box_reference(origins, directions, lower, upper)
    n_steps = int(((t_far - t_near) / step).max().clamp(min=0)) + 2 if len(origins) else 0
    k = torch.arange(n_steps, dtype=origins.dtype, device=origins.device)
    t = t_near[:, None] + (k + offsets[:, None]) * step  # (R, K)
    cells = torch.tensor(occupancy.shape, dtype=origins.dtype, device=origins.device)
    position = origins[:, None] + t[..., None] * directions[:, None]
    cell = ((position - lower) * (cells / (upper - lower))).floor().clamp(min=torch.zeros_like(cells), max=cells - 1)
    kept = occupancy[tuple(cell.long().unbind(-1))] & (t < t_far[:, None])
    kept &= kept.cumsum(1) <= max_samples
    ray = kept.nonzero()[:, 0]
    first = torch.cat([ray.new_zeros(1), kept.sum(1).cumsum(0)])
    return RaySamples(t[kept] - step / 2, t[kept] + step / 2, ray, first)


def composite_rays_reference(alpha, values, first):
    counts = first.diff()
    ray = torch.repeat_interleave(torch.arange(len(counts), device=alpha.device), counts)
    column = torch.arange(len(alpha), device=alpha.device) - first[ray]
    shape = (len(counts), int(counts.max()) if len(counts) else 0)
    through = alpha.new_ones(shape).index_put((ray, column), 1 - alpha)
    before = torch.cat([torch.ones_like(through[:, :1]), through[:, :-1].cumprod(1)], 1)
    weights = before[ray, column] * alpha
    accumulated = values.new_zeros(len(counts), values.shape[1]).index_add(0, ray, weights[:, None] * values)
    return accumulated, alpha.new_zeros(len(counts)).index_add(0, ray, weights), weights
