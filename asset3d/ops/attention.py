"""Attention of one set of queries over several sources of keys and values, fused, without concatenating them.

B batches, H heads, N queries, M keys of a source, D channels of a head; Bs batches of a source, a divisor of B.
"""
import contextlib
import math
from collections.abc import Callable, Collection, Iterator, Sequence

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.utils import _pytree

from asset3d import _C  # noqa: F401  registers torch.ops.asset3d.*
from asset3d.ops._check import check, refuse_second_derivative, values_are_checked, wanted

MAX_SOURCES = 16
MAX_HEAD_SIZE = 256
DTYPES = torch.float32, torch.float64, torch.bfloat16, torch.float16


def attention(
    q: Float[Tensor, "B H N D"],
    sources: Sequence[tuple[Float[Tensor, "Bs H M D"], Float[Tensor, "Bs H M D"]]],
    scale: float | None = None,
) -> Float[Tensor, "B H N D"]:
    """softmax(scale * q k^T) v over the keys of all sources, as if they were concatenated.

    No source is copied or concatenated, forward or backward, and no matrix of scores exists. (On CUDA one source of as
    many batches goes to torch's own kernels, which are faster there.) A source with batch Bs
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
    if q.is_cuda and _is_plain(q, sources) and not values_are_checked():
        return nn.functional.scaled_dot_product_attention(q, *sources[0], scale=scale)
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
    if q.dtype not in DTYPES or q.dtype == torch.float16 and q.device.type == "cpu":
        raise TypeError(f"attention: `q` must be float32, float64 or bfloat16, or on CUDA float16, got {q.dtype}")
    if not 1 <= q.shape[3] <= MAX_HEAD_SIZE:
        raise ValueError(f"attention: `q` must have 1 to {MAX_HEAD_SIZE} channels per head, got {q.shape[3]}")


def _is_plain(q: Tensor, sources: Sequence[tuple[Tensor, Tensor]]) -> bool:
    """One source of as many batches and several keys, in a dtype that is trained in: what torch's kernels for Hopper
    are made for (their published rates are out of reach of `mma`). On the CPU ours is the faster one for all shapes
    of benchmarks/bench_attention.py but the smallest, where a call costs 10 us more."""
    k = sources[0][0]
    return len(sources) == 1 and k.shape[0] == q.shape[0] and k.shape[2] > 1 and q.dtype != torch.float64


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


torch.library.register_autograd("asset3d::attention", _backward, setup_context=_save)
refuse_second_derivative("attention")


def attention_reference(q, sources, scale=None):
    """The same function in plain PyTorch: the definition that every kernel is tested against."""
    scale = 1 / math.sqrt(q.shape[-1]) if scale is None else scale
    keys, values = (torch.cat([t.repeat_interleave(q.shape[0] // max(t.shape[0], 1), 0) for t in side], 2)
                    for side in zip(*sources))
    return (scale * q @ keys.transpose(2, 3)).softmax(-1) @ values


class AttentionProcessor:
    """Runs the attention layers of a diffusers model by :func:`attention`, and lets images see one another's keys.

        processor = AttentionProcessor(unet, layers=range(12, 16))
        with processor.capture():
            unet(references, t, text)       # batch (2, ...): one reference, both halves of guidance
        with processor.inject():
            unet(views, t, text)            # batch (2 * V, ...): each half of the views sees the reference of its half
        processor.remove()

    With none of its modes on, a model computes what it computes with the processors of diffusers. Batches are ordered
    as diffusers orders them: all of the unconditional half, then all of the conditional one; `halves` is 1 without
    guidance.
    """

    STOCK = {"AttnProcessor", "AttnProcessor2_0"}
    """The processors of diffusers that this one can stand for; layers with others keep theirs, and so do those with
    heads of more than `MAX_HEAD_SIZE` channels."""

    def __init__(self, model: nn.Module, layers: Collection[int] | Callable[[str], bool] | None = None):
        """Take over the attention layers of a model.

        Args:
            model: A diffusers model, with `attn_processors` and `set_attn_processor`.
            layers: The self-attention layers that share keys and values: their numbers, from 0, in the order in which a
                UNet runs them (down, middle, up); or a function of their names; by default all that can.

        Raises:
            ValueError: a number without a layer, or a layer that this processor cannot stand for.
        """
        self._model = model
        self._before = dict(model.attn_processors)
        names = _self_attention_names(model)
        chosen = _chosen(names, layers)
        strange = [name for name in chosen if not self._can_run(name)]
        if strange and layers is not None:
            raise ValueError(f"AttentionProcessor: layers with processors of their own, or heads of more than "
                             f"{MAX_HEAD_SIZE} channels, cannot share keys: {strange}")
        self._sharing = {model.get_submodule(name) for name in chosen if name not in strange}
        self._captured: dict[nn.Module, list[tuple[Tensor, Tensor]]] = {}
        self._sources: Callable[[nn.Module, Tensor, Tensor], list[tuple[Tensor, Tensor]]] | None = None
        model.set_attn_processor({name: self if self._can_run(name.removesuffix(".processor")) else old
                                  for name, old in self._before.items()})

    def _can_run(self, name: str) -> bool:
        layer = self._model.get_submodule(name)
        return (type(self._before[name + ".processor"]).__name__ in self.STOCK
                and layer.inner_dim // layer.heads <= MAX_HEAD_SIZE)

    def remove(self) -> None:
        """Give the model its former processors back."""
        self._model.set_attn_processor(dict(self._before))

    @contextlib.contextmanager
    def capture(self) -> Iterator[None]:
        """Keep the keys and values of the chosen layers, in place of those kept before. Several calls of the model are
        several sources."""
        self._captured = {}
        with self._mode(self._capture_sources):
            yield

    @contextlib.contextmanager
    def inject(self, replace: bool = True) -> Iterator[None]:
        """Let queries see what was captured: in place of their own keys, or beside them."""
        with self._mode(lambda layer, k, v: ([] if replace else [(k, v)]) + self._captured_of(layer)):
            yield

    @contextlib.contextmanager
    def share_first(self, halves: int = 2, replace: bool = True) -> Iterator[None]:
        """Let all images of a half see the keys of its first one: in place of their own, or beside them."""

        def sources(layer: nn.Module, k: Tensor, v: Tensor) -> list[tuple[Tensor, Tensor]]:
            first = tuple(_split_halves(t, halves)[:, 0] for t in (k, v))
            return [first] if replace else [(k, v), first]

        with self._mode(sources):
            yield

    @contextlib.contextmanager
    def share_all(self, halves: int = 2) -> Iterator[None]:
        """Let all images of a half see the keys of all of them, as multi-view models do."""
        with self._mode(lambda layer, k, v: list(zip(_split_halves(k, halves).unbind(1),
                                                     _split_halves(v, halves).unbind(1)))):
            yield

    @contextlib.contextmanager
    def _mode(self, sources) -> Iterator[None]:
        if self._sources is not None:
            raise RuntimeError("AttentionProcessor: one mode at a time; leave the other `with` first")
        self._sources = sources
        try:
            yield
        finally:
            self._sources = None

    def _capture_sources(self, layer: nn.Module, k: Tensor, v: Tensor) -> list[tuple[Tensor, Tensor]]:
        self._captured.setdefault(layer, []).append((k, v))
        return [(k, v)]

    def _captured_of(self, layer: nn.Module) -> list[tuple[Tensor, Tensor]]:
        if layer not in self._captured:
            raise RuntimeError("AttentionProcessor: nothing is captured; run the reference under `capture()` first")
        return self._captured[layer]

    def __call__(self, attn, hidden_states, encoder_hidden_states=None, attention_mask=None, temb=None):
        """What diffusers calls for a layer `attn`: (B, N, channels) or (B, channels, height, width), in and out."""
        residual, shape = hidden_states, hidden_states.shape
        if attn.spatial_norm is not None:
            hidden_states = attn.spatial_norm(hidden_states, temb)
        if len(shape) == 4:
            hidden_states = hidden_states.flatten(2).transpose(1, 2)
        if attn.group_norm is not None:
            hidden_states = attn.group_norm(hidden_states.transpose(1, 2)).transpose(1, 2)
        out = self._attend(attn, hidden_states, encoder_hidden_states, attention_mask)
        out = attn.to_out[1](attn.to_out[0](out.transpose(1, 2).flatten(2)))
        if len(shape) == 4:
            out = out.transpose(-1, -2).reshape(shape)
        return (out + residual if attn.residual_connection else out) / attn.rescale_output_factor

    def _attend(self, attn, hidden: Tensor, context: Tensor | None, mask: Tensor | None) -> Tensor:
        sharing = self._sources is not None and context is None and attn in self._sharing
        if context is None:
            context = hidden
        elif attn.norm_cross:
            context = attn.norm_encoder_hidden_states(context)
        q, k, v = (t.unflatten(2, (attn.heads, -1)).transpose(1, 2)
                   for t in (attn.to_q(hidden), attn.to_k(context), attn.to_v(context)))
        q = q if attn.norm_q is None else attn.norm_q(q)
        k = k if attn.norm_k is None else attn.norm_k(k)
        if mask is None:
            return attention(q, self._sources(attn, k, v) if sharing else [(k, v)], attn.scale)
        if sharing:
            raise ValueError("AttentionProcessor: `attention_mask` cannot be used in a layer that shares keys")
        mask = attn.prepare_attention_mask(mask, k.shape[2], k.shape[0])
        mask = mask.view(k.shape[0], attn.heads, -1, mask.shape[-1])
        return nn.functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=attn.scale)


def _self_attention_names(model: nn.Module) -> list[str]:
    """Names of the self-attention layers in the order in which a UNet runs them; its modules are in another one."""
    ranks = {"down_blocks": 0, "mid_block": 1, "up_blocks": 2}
    names = [name.removesuffix(".processor") for name in model.attn_processors]
    names = [name for name in names if not getattr(model.get_submodule(name), "is_cross_attention", True)]
    return sorted(names, key=lambda name: ranks.get(name.split(".")[0], 3))


def _chosen(names: list[str], layers: Collection[int] | Callable[[str], bool] | None) -> list[str]:
    if layers is None or callable(layers):
        return [name for name in names if layers is None or layers(name)]
    if not all(0 <= i < len(names) for i in layers):
        raise ValueError(f"AttentionProcessor: `layers` must be in 0..{len(names) - 1}, got {sorted(layers)}")
    return [names[i] for i in sorted(layers)]


def _split_halves(t: Tensor, halves: int) -> Tensor:
    """(B, ...) to (halves, B / halves, ...)."""
    if halves < 1 or t.shape[0] % halves:
        raise ValueError(
            f"AttentionProcessor: `halves` must divide the batch of the model, got {halves} and {t.shape[0]}")
    return t.unflatten(0, (halves, -1))
