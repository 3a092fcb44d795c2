"""Gaussian splatting (Kerbl et al. 2023), differentiable: project into the image, blend front to back.

Letters in shapes: B cameras, N Gaussians, C channels, H rows, W columns, K coefficients of spherical harmonics.
What is drawn follows gsplat: dilation 0.3, alpha at most 0.99, alpha below 1/255 left out, a pixel stops at a
transmittance of 1e-4. A Gaussian of covariance R S S R^T has its alpha = opacity * exp(-q), q = half its squared
distance in deviations.
"""
import re

import torch
from jaxtyping import Float
from torch import Tensor

from asset3d import _C  # noqa: F401  registers torch.ops.asset3d.*
from asset3d.errors import TooManyIntersections
from asset3d.ops._check import check, refuse_second_derivative, whole
from asset3d.ops._gaussian_reference import blend_gaussians_reference as blend_gaussians_reference
from asset3d.ops._gaussian_reference import project_gaussians_reference as project_gaussians_reference
from asset3d.ops._gaussian_reference import spherical_harmonics_reference as spherical_harmonics_reference
from asset3d.ops._gaussian_types import ALPHA_MIN, CHUNK, GEOMETRY, MAX_INTERSECTIONS, MOST_CHANNELS, TILE
from asset3d.ops._gaussian_types import ProjectedGaussians as ProjectedGaussians
from asset3d.ops._gaussian_types import SplatRendering as SplatRendering


def project_gaussians(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    scales: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    world_to_camera: Float[Tensor, "B 4 4"],
    intrinsics: Float[Tensor, "B 4"],
    resolution: tuple[int, int],
    *,
    near: float = 0.01,
    far: float = 1e10,
    dilation: float = 0.3,
    normalize_quats: bool = True,
    antialiased: bool = False,
    alpha_min: float = ALPHA_MIN,
) -> ProjectedGaussians:
    """The images of Gaussians under the linear part of the projection at their centres.

    Differentiable in means, quats, scales and opacities; cameras have no gradient and are refused if they want one.
    Gaussians that are not finite or absurd are not drawn, and counted: see :class:`ProjectedGaussians`.

    Args:
        means: Centres in the world, (N, 3).
        quats: Rotations, (N, 4), w x y z.
        scales: Standard deviations along the axes, (N, 3).
        opacities: Alpha at the centres, (N,).
        world_to_camera: (B, 4, 4), OpenGL axes, as `Camera.world_to_camera()`.
        intrinsics: fx, fy, cx, cy in pixels, (B, 4).
        resolution: Rows and columns of the images.
        near: Gaussians whose centre is closer are not drawn.
        far: Gaussians whose centre is farther are not drawn.
        dilation: Added to the variance in both directions, in pixels squared.
        normalize_quats: False takes quaternions as they are, as some published checkpoints were trained.
        antialiased: Whether opacities are lowered by what the dilation adds to the area (Yu et al. 2023).
        alpha_min: Where alpha is smaller a Gaussian does not show; :func:`blend_gaussians` wants the same number.

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or numbers that do not fit. NotImplementedError: a camera that
        requires a gradient. RuntimeError: a camera that is not finite (CPU).
    """
    op = "project_gaussians"
    check(op, means=(means, "N 3"), quats=(quats, "N 4"), scales=(scales, "N 3"), opacities=(opacities, "N"),
          world_to_camera=(world_to_camera, "B 4 4"), intrinsics=(intrinsics, "B 4"))
    height, width = _check_resolution(op, resolution)
    if not 0 < near < far:
        raise ValueError(f"{op}: need 0 < near < far, got {near} and {far}")
    if not 0 <= dilation < float("inf"):
        raise ValueError(f"{op}: `dilation` must be finite and >= 0, got {dilation}")
    _check_alpha_min(op, alpha_min)
    if world_to_camera.requires_grad or intrinsics.requires_grad:
        raise NotImplementedError(f"{op}: cameras have no gradient; give `world_to_camera` and `intrinsics` detached")
    tensors = (tensor.contiguous() for tensor in (means, quats, scales, opacities, world_to_camera, intrinsics))
    outputs = torch.ops.asset3d.gaussian_project(
        *tensors, height, width, float(near), float(far), float(dilation), float(alpha_min), normalize_quats,
        antialiased)
    return ProjectedGaussians(*outputs[:4], outputs[4].detach())


def blend_gaussians(
    projected: ProjectedGaussians,
    colors: Float[Tensor, "B N C"] | Float[Tensor, "N C"],
    resolution: tuple[int, int],
    *,
    background: Float[Tensor, "C"] | None = None,
    alpha_max: float = 0.99,
    alpha_min: float = ALPHA_MIN,
    stop_transmittance: float = 1e-4,
    max_intersections: int = MAX_INTERSECTIONS,
) -> tuple[Float[Tensor, "B H W C"], Float[Tensor, "B H W 1"], Float[Tensor, "B H W 1"]]:
    """Blend projected Gaussians front to back, by the depth of their centres; the first of equal depths is in front.

    Differentiable in all but the radii. On the CPU the same bits for any number of threads.

    Args:
        projected: From :func:`project_gaussians`.
        colors: Any number of channels, (B, N, C), or (N, C) for all cameras.
        resolution: Rows and columns of the images.
        background: What shines through, (C,); None is black.
        alpha_max: Alpha is clamped to it, below 1 - stop_transmittance.
        alpha_min: Below it a Gaussian does not show at a pixel.
        stop_transmittance: A pixel stops before the Gaussian that would take its transmittance to this or below.
        max_intersections: Pairs of a Gaussian and a tile of 16 x 16 pixels that may be listed, at most 2^31 - 1.

    Returns:
        Color (B, H, W, C); alpha (B, H, W, 1); expected depth (B, H, W, 1), 0 where nothing is.

    Raises:
        ValueError, TypeError: shapes, dtypes, devices or numbers that do not fit. TooManyIntersections: more of them
        than the limit. RuntimeError: a colour that is not finite (CPU).
    """
    op = "blend_gaussians"
    check(op, means_2d=(projected.means_2d, "B N 2"), conics=(projected.conics, "B N 3"),
          depths=(projected.depths, "B N"), opacities=(projected.opacities, "B N"), radii=(projected.radii, "B N 2"),
          colors=(colors, "N C | B N C"),
          **({} if background is None else {"background": (background, "C")}))
    height, width = _check_resolution(op, resolution)
    _check_alpha_min(op, alpha_min)
    _check_clamps(op, alpha_min, alpha_max, stop_transmittance, torch.finfo(colors.dtype).eps)
    if not 0 <= whole(op, "max_intersections", max_intersections) < 2**31:
        raise ValueError(f"{op}: `max_intersections` must be in 0..2^31 - 1, got {max_intersections}")
    means_2d, conics, depths, opacities, radii = (tensor.contiguous() for tensor in projected)
    splats = means_2d, conics, opacities, depths
    radii = radii.detach()
    lists = _tiles(*(tensor.detach() for tensor in splats), radii, height, width, float(alpha_min), max_intersections)
    look = height, width, float(alpha_max), float(alpha_min), float(stop_transmittance)

    def blend(colors: Tensor, background: Tensor | None) -> tuple[Tensor, ...]:
        inputs = *splats, colors.contiguous(), None if background is None else background.contiguous()
        has_gradient = torch.is_grad_enabled() and any(t is not None and t.requires_grad for t in inputs)
        return torch.ops.asset3d.gaussian_blend(*inputs, radii, *lists, *look, has_gradient)[:3]

    if colors.shape[-1] <= MOST_CHANNELS:
        return blend(colors, background)
    groups = colors.split(MOST_CHANNELS, -1)
    backgrounds = [None] * len(groups) if background is None else background.split(MOST_CHANNELS)
    images = [blend(*group) for group in zip(groups, backgrounds)]
    return torch.cat([color for color, *_ in images], -1), *images[0][1:]


def rasterize_gaussians(
    means: Float[Tensor, "N 3"],
    quats: Float[Tensor, "N 4"],
    scales: Float[Tensor, "N 3"],
    opacities: Float[Tensor, "N"],
    colors: Float[Tensor, "B N C"] | Float[Tensor, "N C"] | Float[Tensor, "N K 3"],
    world_to_camera: Float[Tensor, "B 4 4"],
    intrinsics: Float[Tensor, "B 4"],
    resolution: tuple[int, int],
    *,
    sh_degree: int | None = None,
    background: Float[Tensor, "C"] | None = None,
    near: float = 0.01,
    far: float = 1e10,
    dilation: float = 0.3,
    normalize_quats: bool = True,
    antialiased: bool = False,
    alpha_max: float = 0.99,
    alpha_min: float = ALPHA_MIN,
    stop_transmittance: float = 1e-4,
    max_intersections: int = MAX_INTERSECTIONS,
) -> SplatRendering:
    """Images of Gaussians: :func:`project_gaussians`, then :func:`blend_gaussians`, which explain the arguments.

    With `sh_degree` the `colors` are coefficients of spherical harmonics, (N, K, 3), seen along the direction from
    each camera to each centre: see :func:`spherical_harmonics`.
    """
    projected = project_gaussians(
        means, quats, scales, opacities, world_to_camera, intrinsics, resolution, near=near, far=far, dilation=dilation,
        normalize_quats=normalize_quats, antialiased=antialiased, alpha_min=alpha_min)
    if sh_degree is not None:
        colors = spherical_harmonics(colors, _view_directions(means, world_to_camera), sh_degree)
    color, alpha, depth = blend_gaussians(
        projected, colors, resolution, background=background, alpha_max=alpha_max, alpha_min=alpha_min,
        stop_transmittance=stop_transmittance, max_intersections=max_intersections)
    return SplatRendering(color, alpha, depth, projected)


def spherical_harmonics(
    coefficients: Float[Tensor, "N K 3"], directions: Float[Tensor, "B N 3"] | Float[Tensor, "N 3"], degree: int
) -> Float[Tensor, "B N 3"]:
    """Colours of Gaussians seen along unit directions: 0.5 + sum of coefficient * harmonic, at least 0.

    Basis and signs are those of published splats. Only the first (degree + 1)^2 coefficients are looked at.
    Differentiable in coefficients and directions; the harmonics are polynomials of x, y and z, which need not have
    length 1 for that.

    Args:
        coefficients: (N, K, 3), K >= (degree + 1)^2.
        directions: From the camera to the Gaussian, of length 1, (B, N, 3), or (N, 3) for B = 1.
        degree: 0 to 3.
    """
    op = "spherical_harmonics"
    check(op, coefficients=(coefficients, "N K 3"), directions=(directions, "N 3 | B N 3"))
    if not 0 <= whole(op, "degree", degree) <= 3:
        raise ValueError(f"{op}: `degree` must be in 0..3, got {degree}")
    n_used = (degree + 1) ** 2
    if coefficients.shape[1] < n_used:
        raise ValueError(f"{op}: degree {degree} takes {n_used} `coefficients` per channel, got "
                         f"{coefficients.shape[1]}")
    directions = directions if directions.dim() == 3 else directions[None]
    return torch.ops.asset3d.spherical_harmonics(coefficients.contiguous(), directions.contiguous(), degree)


def _view_directions(means: Tensor, world_to_camera: Tensor) -> Tensor:
    """Unit vectors from the cameras to the centres; of centres that are not drawn for being absurd, anything finite."""
    rotation, shift = world_to_camera[:, :3, :3], world_to_camera[:, :3, 3]
    means = means.where((means.detach().abs() < 1e15).all(-1, keepdim=True), 0.0)
    positions = -(rotation.transpose(1, 2) @ shift[..., None])[..., 0]
    return torch.nn.functional.normalize(means[None] - positions[:, None], dim=-1)


def _check_resolution(op: str, resolution: tuple[int, int]) -> tuple[int, int]:
    if not isinstance(resolution, (tuple, list)) or len(resolution) != 2:
        raise ValueError(f"{op}: `resolution` must be rows and columns, got {resolution!r}")
    height, width = (whole(op, "resolution", size) for size in resolution)
    if not (1 <= height <= 2**20 and 1 <= width <= 2**20):
        raise ValueError(f"{op}: `resolution` must be rows and columns in 1..2^20, got {tuple(resolution)}")
    return height, width


def _check_clamps(op: str, alpha_min: float, alpha_max: float, stop_transmittance: float, eps: float) -> None:
    if not alpha_min < alpha_max < 1:
        raise ValueError(f"{op}: need alpha_min < alpha_max < 1, got {alpha_min} and {alpha_max}")
    if not 0 < stop_transmittance < 1:
        raise ValueError(f"{op}: `stop_transmittance` must be between 0 and 1, got {stop_transmittance}")
    if not 1 - alpha_max > stop_transmittance + eps:  # pixels would stop before whatever is opaque, and show nothing
        raise ValueError(f"{op}: `alpha_max` must leave more light than `stop_transmittance`: lower it below "
                         f"{1 - stop_transmittance - eps:.8g}, got {alpha_max}")


def _check_alpha_min(op: str, alpha_min: float) -> None:
    if not 1e-5 <= alpha_min < 1:
        raise ValueError(f"{op}: `alpha_min` must be in [1e-5, 1), got {alpha_min}")


def _tiles(*args) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    if torch.compiler.is_compiling():
        return torch.ops.asset3d.gaussian_tiles(*args)
    try:
        return torch.ops.asset3d.gaussian_tiles(*args)
    except RuntimeError as error:
        message = re.search("blend_gaussians: [0-9]+ intersections of .*", str(error))
        if message is None:
            raise
        numbers = [int(number) for number in re.findall("[0-9]+", message[0])[:3]]
        raise TooManyIntersections(message[0], *numbers) from None


# Shapes without data


@torch.library.register_fake("asset3d::gaussian_project")
def _(means, quats, scales, opacities, world_to_camera, intrinsics, *_):
    n, b = means.shape[0], intrinsics.shape[0]
    return tuple(means.new_empty(shape) for shape in ((b, n, 2), (b, n, 3), (b, n), (b, n), (b, n, 2)))


@torch.library.register_fake("asset3d::gaussian_project_backward")
def _(grad_means_2d, grad_conics, grad_depths, grad_opacities, means, quats, scales, opacities, *_):
    return tuple(tensor.new_empty(tensor.shape) for tensor in (means, quats, scales, opacities))


@torch.library.register_fake("asset3d::gaussian_tiles")
def _(means_2d, conics, opacities, depths, radii, height, width, alpha_min, max_intersections):
    n_intersections = torch.library.get_ctx().new_dynamic_size()
    b, n = means_2d.shape[:2]
    n_tiles = -(-height // TILE) * -(-width // TILE)
    return (
        means_2d.new_empty(b, n, GEOMETRY),
        means_2d.new_empty(n_intersections, 2, dtype=torch.int32),
        means_2d.new_empty(b * n_tiles + 1, dtype=torch.int64),
        means_2d.new_empty(b * n + 1, dtype=torch.int64),
    )


@torch.library.register_fake("asset3d::gaussian_blend")
def _(means_2d, conics, opacities, depths, colors, background, radii, geometry, entries, tile_first, slot_first, height,
      width, alpha_max, alpha_min, stop_transmittance, keep):
    images = means_2d.shape[0], height, width
    kept = means_2d.shape[0] if keep else 0, height, width
    shapes = (*images, colors.shape[-1]), (*images, 1), (*images, 1), kept
    n_tiles = tile_first.shape[0] - 1
    n_chunks = entries.shape[0] // CHUNK + n_tiles if keep and means_2d.device.type != "cpu" else 0
    return (*(means_2d.new_empty(shape) for shape in shapes), means_2d.new_empty(kept, dtype=torch.int32),
            means_2d.new_empty(n_chunks, colors.shape[-1] + 2, TILE * TILE))


@torch.library.register_fake("asset3d::gaussian_blend_backward")
def _(grad_color, grad_alpha, grad_depth, means_2d, conics, opacities, depths, colors, background, *_):
    grads = tuple(tensor.new_empty(tensor.shape) for tensor in (means_2d, conics, opacities, depths, colors))
    return *grads, means_2d.new_empty(0 if background is None else background.shape)


@torch.library.register_fake("asset3d::spherical_harmonics")
def _(coefficients, directions, degree):
    return directions.new_empty(directions.shape)


@torch.library.register_fake("asset3d::spherical_harmonics_backward")
def _(grad_colors, coefficients, directions, degree):
    return coefficients.new_empty(coefficients.shape), directions.new_empty(directions.shape)


# Derivatives


def _project_save(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:6], output[4])
    ctx.lens = inputs[6:]


def _project_backward(ctx, *grads):
    grads = (grad.contiguous() for grad in grads[:4])
    return *torch.ops.asset3d.gaussian_project_backward(*grads, *ctx.saved_tensors, *ctx.lens), *[None] * 10


def _blend_save(ctx, inputs, output):
    ctx.has_background = inputs[5] is not None
    ctx.save_for_backward(*(tensor for tensor in inputs[:11] if tensor is not None), *output[1:])
    ctx.look = inputs[11:-1]


def _blend_backward(ctx, *grads):
    saved = list(ctx.saved_tensors)
    if not ctx.has_background:
        saved.insert(5, None)
    grads = (grad.contiguous() for grad in grads[:3])
    *grads, background = torch.ops.asset3d.gaussian_blend_backward(*grads, *saved, *ctx.look)
    return *grads, background if ctx.has_background else None, *[None] * 11


def _harmonics_save(ctx, inputs, output):
    *tensors, ctx.degree = inputs
    ctx.save_for_backward(*tensors)


def _harmonics_backward(ctx, grad):
    return *torch.ops.asset3d.spherical_harmonics_backward(grad.contiguous(), *ctx.saved_tensors, ctx.degree), None


torch.library.register_autograd("asset3d::gaussian_project", _project_backward, setup_context=_project_save)
torch.library.register_autograd("asset3d::gaussian_blend", _blend_backward, setup_context=_blend_save)
torch.library.register_autograd("asset3d::spherical_harmonics", _harmonics_backward, setup_context=_harmonics_save)
refuse_second_derivative("spherical_harmonics")
refuse_second_derivative("project_gaussians", "gaussian_project")
refuse_second_derivative("blend_gaussians", "gaussian_blend")


# The same in plain PyTorch; the two parts are in _gaussian_reference.py


def rasterize_gaussians_reference(means, quats, scales, opacities, colors, world_to_camera, intrinsics, resolution, *,
                                  sh_degree=None, background=None, near=0.01, far=1e10, dilation=0.3,
                                  normalize_quats=True, antialiased=False, alpha_max=0.99, alpha_min=ALPHA_MIN,
                                  stop_transmittance=1e-4, max_intersections=None):
    projected = project_gaussians_reference(
        means, quats, scales, opacities, world_to_camera, intrinsics, resolution, near=near, far=far, dilation=dilation,
        normalize_quats=normalize_quats, antialiased=antialiased, alpha_min=alpha_min)
    if sh_degree is not None:
        colors = spherical_harmonics_reference(colors, _view_directions(means, world_to_camera), sh_degree)
    images = blend_gaussians_reference(
        projected, colors, resolution, background=background, alpha_max=alpha_max, alpha_min=alpha_min,
        stop_transmittance=stop_transmittance)
    return SplatRendering(*images, projected)
