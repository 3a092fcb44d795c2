"""Attention of one set of queries over several sources of keys and values, fused, without concatenating them.

B batches, H heads, N queries, M keys of a source, D channels of a head; Bs batches of a source, a divisor of B.
"""
import math
from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils import _pytree

from asset3d import _C  # noqa: F401  registers torch.ops.asset3d.*
from asset3d.ops._check import check, wanted

MAX_SOURCES = 16
MAX_HEAD_SIZE = 256


def attention(
    q: Float[Tensor, "B H N D"],
    sources: Sequence[tuple[Float[Tensor, "Bs H M D"], Float[Tensor, "Bs H M D"]]],
    scale: float | None = None,
) -> Float[Tensor, "B H N D"]:
    """softmax(scale * q k^T) v over the keys of all sources, as if they were concatenated.

    No source is copied or concatenated, forward or backward, and no matrix of scores exists. A source with batch Bs
    serves query b by its batch b // (B / Bs), so that the keys and values of one reference image serve many views. With
    one key in all, the gradients of q and k are exactly zero. Without any key the result is zero. On the CPU the result
    has the same bits for any number of threads.

    Args:
        q: Queries, (B, H, N, D), D up to 256; float32, float64, bfloat16, or on CUDA float16. Any strides whose last is
            1 are read in place: `projected.view(B, N, H, D).transpose(1, 2)` costs no copy.
        sources: 1 to 16 pairs (k, v) of shape (Bs, H, M, D), with the dtype and device of q; M may be 0.
        scale: Factor of q . k; 1 / sqrt(D) by default.

    Returns:
        (B, H, N, D), with the strides of q where those are dense.

    Raises:
        ValueError, TypeError: shapes, dtypes or devices that do not fit together.
        RuntimeError: a value that is not finite (on the CPU; on CUDA under `asset3d.check_values`).
    """
    _check(q, sources, scale)
    if scale is None:
        scale = 1 / math.sqrt(q.shape[-1])
    keys, values = [_rows(k) for k, _ in sources], [_rows(v) for _, v in sources]
    return torch.ops.asset3d.attention(_rows(q), keys, values, scale)[0]


def _check(q: Tensor, sources: Sequence[tuple[Tensor, Tensor]], scale: float | None) -> None:
    if not 1 <= len(sources) <= MAX_SOURCES:
        raise ValueError(f"attention: `sources` must hold 1 to {MAX_SOURCES} pairs (k, v), got {len(sources)}")
    if scale is not None and not math.isfinite(scale):
        raise ValueError(f"attention: `scale` must be finite, got {scale}")
    for i, source in enumerate(sources):
        if not isinstance(source, (tuple, list)) or len(source) != 2:
            raise ValueError(f"attention: `sources[{i}]` must be a pair (k, v), got {_describe(source)}")
        k, v = source
        check("attention", q=(q, "B H N D"), **{f"sources[{i}] k": (k, "Bs H M D"), f"sources[{i}] v": (v, "Bs H M D")})
        if q.shape[0] != 0 and (k.shape[0] == 0 or q.shape[0] % k.shape[0]):
            raise ValueError(
                f"attention: the batch of `sources[{i}]` must divide that of `q`, got {k.shape[0]} and {q.shape[0]}")
        if q.shape[0] == 0 != k.shape[0]:
            raise ValueError(f"attention: `q` has no batch, so `sources[{i}]` must have none, got {k.shape[0]}")
    if not 1 <= q.shape[3] <= MAX_HEAD_SIZE:
        raise ValueError(f"attention: `q` must have 1 to {MAX_HEAD_SIZE} channels per head, got {q.shape[3]}")


def _describe(value: object) -> str:
    return f"{len(value)} values" if isinstance(value, (tuple, list)) else type(value).__name__


def _rows(t: Tensor) -> Tensor:
    """The tensor itself where kernels can read it: channels lie side by side."""
    return t if t.shape[-1] <= 1 or t.stride(-1) == 1 else t.contiguous()


@torch.library.register_fake("asset3d::attention")
def _(q, keys, values, scale):
    log_sum = q.new_empty(q.shape[:3], dtype=torch.float64 if q.dtype == torch.float64 else torch.float32)
    return torch.empty_like(q), log_sum


@torch.library.register_fake("asset3d::attention_backward")
def _(grad_out, q, keys, values, out, log_sum, scale, want_q, want_sources):
    def like(tensors):
        return [torch.empty_like(t) if want else t.new_empty(0) for t, want in zip(tensors, want_sources)]

    return torch.empty_like(q) if want_q else q.new_empty(0), like(keys), like(values)


def _save(ctx, inputs, output):
    q, keys, values, ctx.scale = inputs
    ctx.n_sources = len(keys)
    ctx.mark_non_differentiable(output[1])
    ctx.set_materialize_grads(False)
    ctx.save_for_backward(q, *keys, *values, *output)


def _backward(ctx, grad_out, _):
    q, *sources, out, log_sum = ctx.saved_tensors
    n = ctx.n_sources
    if grad_out is None:
        return None, [None] * n, [None] * n, None
    want_q, want_k, want_v = _wanted(ctx, n)
    grad_q, grad_keys, grad_values = torch.ops.asset3d.attention_backward(
        _rows(grad_out), q, sources[:n], sources[n:], out, log_sum, ctx.scale, want_q,
        [int(k or v) for k, v in zip(want_k, want_v)])
    return (grad_q if want_q else None, [g if want else None for g, want in zip(grad_keys, want_k)],
            [g if want else None for g, want in zip(grad_values, want_v)], None)


def _wanted(ctx, n_sources: int) -> tuple[bool, list[bool], list[bool]]:
    """Whether this backward pass will use the gradient of q, of each k and of each v."""

    class Flat:
        needs_input_grad = _pytree.tree_leaves(ctx.needs_input_grad)
        next_functions = ctx.next_functions

    flags = wanted(Flat, 1 + 2 * n_sources)
    return flags[0], flags[1 : 1 + n_sources], flags[1 + n_sources :]


def _refuse_second_derivative(ctx, *grads):
    raise NotImplementedError("attention: the second derivative is not implemented; the first is")


torch.library.register_autograd("asset3d::attention", _backward, setup_context=_save)
torch.library.register_autograd("asset3d::attention_backward", _refuse_second_derivative)


def attention_reference(q, sources, scale=None):
    """The same function in plain PyTorch: the definition that every kernel is tested against."""
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    keys, values = (torch.cat([t.repeat_interleave(q.shape[0] // max(t.shape[0], 1), 0) for t in side], 2)
                    for side in zip(*sources))
    return (scale * q @ keys.transpose(2, 3)).softmax(-1) @ values
