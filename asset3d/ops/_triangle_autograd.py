"""Shapes without data and derivatives of the triangle kernels (csrc/triangle)."""
import torch

from asset3d import _C  # noqa: F401  registers torch.ops.asset3d.*
from asset3d.ops._check import refuse_second_derivative

_OPS = torch.ops.asset3d


@torch.library.register_fake("asset3d::rasterize")
def _(positions, faces, height, width):
    shape = (positions.shape[0], height, width, 4)
    return positions.new_empty(shape), positions.new_empty(shape)


@torch.library.register_fake("asset3d::rasterize_backward")
def _(grad_rast, grad_rast_db, positions, faces, rast):
    return torch.empty_like(positions)


def _rasterize_save(ctx, inputs, output):
    positions, faces, _, _ = inputs
    ctx.save_for_backward(positions, faces, output[0])


def _rasterize_backward(ctx, grad_rast, grad_rast_db):
    positions, faces, rast = ctx.saved_tensors
    grad = _OPS.rasterize_backward(grad_rast.contiguous(), grad_rast_db.contiguous(), positions, faces, rast)
    return grad, None, None, None


@torch.library.register_fake("asset3d::interpolate")
def _(attributes, rast, faces, rast_db, chosen):
    batch, height, width, _ = rast.shape
    return (
        rast.new_empty(batch, height, width, attributes.shape[2]),
        rast.new_empty(batch, height, width, 2 * chosen.shape[0]),
    )


@torch.library.register_fake("asset3d::interpolate_backward")
def _(grad_out, grad_out_da, attributes, rast, faces, rast_db, chosen):
    return torch.empty_like(attributes), torch.empty_like(rast), torch.empty_like(rast_db)


def _interpolate_save(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _interpolate_backward(ctx, grad_out, grad_out_da):
    attributes, rast, faces, rast_db, chosen = ctx.saved_tensors
    grads = _OPS.interpolate_backward(
        grad_out.contiguous(), grad_out_da.contiguous(), attributes, rast, faces, rast_db, chosen
    )
    return grads[0], grads[1], None, grads[2], None


@torch.library.register_fake("asset3d::antialias_analyze")
def _(rast, positions, faces, topology):
    return rast.new_empty((*rast.shape[:3], 2), dtype=torch.int32)


@torch.library.register_fake("asset3d::antialias")
def _(color, positions, faces, crossings):
    return torch.empty_like(color)


@torch.library.register_fake("asset3d::antialias_backward")
def _(grad_out, color, positions, faces, crossings):
    return torch.empty_like(color), torch.empty_like(positions)


@torch.library.register_fake("asset3d::face_topology")
def _(faces, n_vertices):
    return torch.empty_like(faces)


def _antialias_save(ctx, inputs, output):
    ctx.save_for_backward(*inputs)


def _antialias_backward(ctx, grad_out):
    grad_color, grad_positions = _OPS.antialias_backward(grad_out.contiguous(), *ctx.saved_tensors)
    return grad_color, grad_positions, None, None


def _mip_texels(height, width, n_levels):
    texels = 0
    for _ in range(n_levels - 1):
        height, width = max(height // 2, 1), max(width // 2, 1)
        texels += height * width
    return texels


@torch.library.register_fake("asset3d::mip_chain")
def _(texture, n_levels):
    batch, height, width, channels = texture.shape
    return texture.new_empty(batch, _mip_texels(height, width, n_levels), channels)


@torch.library.register_fake("asset3d::mip_chain_backward")
def _(grad_mips, height, width, n_levels):
    return grad_mips.new_empty(grad_mips.shape[0], height, width, grad_mips.shape[2])


def _mip_chain_save(ctx, inputs, output):
    ctx.size, ctx.n_levels = inputs[0].shape[1:3], inputs[1]


def _mip_chain_backward(ctx, grad):
    return _OPS.mip_chain_backward(grad.contiguous(), *ctx.size, ctx.n_levels), None


@torch.library.register_fake("asset3d::texture")
def _(texture, mips, uv, uv_da, n_levels, filter, boundary):
    return texture.new_empty(*uv.shape[:3], texture.shape[3])


@torch.library.register_fake("asset3d::texture_backward")
def _(grad_out, texture, mips, uv, uv_da, n_levels, filter, boundary):
    return tuple(torch.empty_like(t) for t in (texture, mips, uv, uv_da))


def _texture_save(ctx, inputs, output):
    ctx.save_for_backward(*inputs[:4])
    ctx.modes = inputs[4:]


def _texture_backward(ctx, grad_out):
    grads = _OPS.texture_backward(grad_out.contiguous(), *ctx.saved_tensors, *ctx.modes)
    return *grads, None, None, None


torch.library.register_autograd("asset3d::rasterize", _rasterize_backward, setup_context=_rasterize_save)
torch.library.register_autograd("asset3d::interpolate", _interpolate_backward, setup_context=_interpolate_save)
torch.library.register_autograd("asset3d::antialias", _antialias_backward, setup_context=_antialias_save)
torch.library.register_autograd("asset3d::mip_chain", _mip_chain_backward, setup_context=_mip_chain_save)
torch.library.register_autograd("asset3d::texture", _texture_backward, setup_context=_texture_save)
for _op in ("rasterize", "interpolate", "antialias", "mip_chain", "texture"):
    refuse_second_derivative(_op)
