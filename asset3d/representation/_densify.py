"""Adding, moving and removing Gaussians while they are fitted. Letters in shapes: N Gaussians before, M after.

Parameters travel as a dict of tensors with one row per Gaussian: `means`, `quats`, `log_scales`, `logits`, and others
that are only copied. Every draw comes from a CPU generator, so that runs repeat.
"""
import math
from collections.abc import Mapping
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import normalize

from asset3d.representation.base import Rows
from asset3d.scene.conventions import rotation_matrices

MOST_COPIES = 50
"""Of one Gaussian at once: binomial coefficients stay exact in float64."""
SPLIT = 1.6
"""The two parts of a Gaussian that is split are so much smaller (Kerbl et al. 2023)."""


class Changed(NamedTuple):
    """New parameters, and where their rows come from."""

    values: dict[str, Tensor]
    rows: Rows


def finite(values: Mapping[str, Tensor]) -> Bool[Tensor, "N"]:
    """Gaussians without a number that is not finite, and with a rotation."""
    rows = [value.flatten(1).isfinite().all(1) if value.dim() > 1 else value.isfinite() for value in values.values()]
    return torch.stack([*rows, values["quats"].norm(dim=-1) > 0]).all(0)


def copies(opacity: Float[Tensor, "N"], count: Tensor) -> tuple[Float[Tensor, "N"], Float[Tensor, "N"]]:
    """Opacities and factors on scales with which `count` equal Gaussians at one place look as the one did.

    Source: Kheradmand et al. 2024, eq. 9; the inner sum over binomials is summed in closed form. Float64.
    """
    opacity, count = opacity.double(), count.long()
    each = 1 - (1 - opacity) ** (1 / count)
    total = torch.zeros_like(opacity)
    choose = count.double()  # count over k + 1, for k = 0, 1, ...
    for k in range(int(count.max()) if len(count) else 0):
        total = total + torch.where(k < count, (-1) ** k * choose * each ** (k + 1) / math.sqrt(k + 1), 0)
        choose = choose * (count - k - 1) / (k + 2)
    return each, opacity / total


@torch.no_grad()
def relocate(values: dict[str, Tensor], target: int, least_opacity: float, generator: torch.Generator) -> Changed:
    """Markov-chain Monte Carlo (Kheradmand et al. 2024): Gaussians that became invisible, or not finite, go to where
    visible ones are, and new ones are put there too, up to `target` rows. Pictures change as little as they can."""
    opacity = torch.sigmoid(values["logits"])
    count = len(opacity)
    dead = (opacity <= least_opacity) | ~finite(values)
    alive = torch.nonzero(~dead)[:, 0]
    source = torch.arange(count, device=opacity.device)
    needed = int(dead.sum()) + max(target - count, 0)
    if not needed or not len(alive):
        return Changed(values, Rows(source, torch.ones_like(dead)))
    drawn = torch.multinomial(opacity[alive].double().cpu(), needed, replacement=True, generator=generator)
    drawn = alive[drawn.to(alive.device)]
    source[dead] = drawn[:int(dead.sum())]
    source = torch.cat([source, drawn[int(dead.sum()):]])
    times = torch.bincount(source, minlength=count).clamp(max=MOST_COPIES)[source]
    shared = times > 1
    values = {name: value[source] for name, value in values.items()}
    each, factor = copies(opacity[source[shared]], times[shared])
    # as bright as the least that stays alive at least, so that none is moved again at once
    values["logits"][shared] = torch.logit(each.clamp(least_opacity, 1 - 1e-6)).to(opacity.dtype)
    values["log_scales"][shared] += factor.log()[:, None].to(opacity.dtype)
    return Changed(values, Rows(source, ~shared))


@torch.no_grad()
def jitter(values: dict[str, Tensor], amount: float, least_opacity: float, generator: torch.Generator) -> Tensor:
    """(N, 3) random steps that keep faint Gaussians exploring, along their own axes (Kheradmand et al. 2024, eq. 8)."""
    noise = torch.randn(values["means"].shape, generator=generator).to(values["means"])
    faint = torch.sigmoid(100 * (least_opacity - torch.sigmoid(values["logits"])))
    turn = rotation_matrices(normalize(values["quats"], dim=-1))
    local = (turn.transpose(1, 2) @ noise[..., None])[..., 0] * (2 * values["log_scales"]).exp()
    return (turn @ local[..., None])[..., 0] * faint[:, None] * amount


class GradientRules(NamedTuple):
    """When Gaussians are copied, split and removed (Kerbl et al. 2023)."""

    threshold: float
    """Least mean gradient of the loss for the place in the picture, whose half width is 1."""
    split_scale: float
    """Larger Gaussians are split, smaller ones are doubled."""
    least_opacity: float
    largest_scale: float
    most: int


@torch.no_grad()
def clone_split_prune(values: dict[str, Tensor], gradient: Float[Tensor, "N"], rules: GradientRules,
                      generator: torch.Generator) -> Changed:
    """Gaussians that pictures pull at are doubled or split in two; faint, huge and not finite ones are removed."""
    largest = values["log_scales"].amax(-1).exp()
    removed = (torch.sigmoid(values["logits"]) < rules.least_opacity) | (largest > rules.largest_scale)
    removed |= ~finite(values)
    pulled = (gradient > rules.threshold) & ~removed
    room = max(rules.most - int((~removed).sum()), 0)
    if int(pulled.sum()) > room:  # those that are pulled at most
        order = torch.sort(torch.where(pulled, gradient, -1.0), descending=True, stable=True).indices
        pulled = torch.zeros_like(pulled).index_fill(0, order[:room], True)
    split = pulled & (largest > rules.split_scale)
    stays = torch.nonzero(~removed)[:, 0]
    source = torch.cat([stays, torch.nonzero(pulled)[:, 0]])
    fresh = torch.arange(len(source), device=source.device) >= len(stays)
    values = {name: value[source] for name, value in values.items()}
    halves = split[source]
    noise = torch.randn(values["means"].shape, generator=generator).to(values["means"])
    turn = rotation_matrices(normalize(values["quats"], dim=-1))
    offset = turn @ (noise * values["log_scales"].exp())[..., None]
    values["means"] = torch.where(halves[:, None], values["means"] + offset[..., 0], values["means"])
    values["log_scales"] = torch.where(halves[:, None], values["log_scales"] - math.log(SPLIT), values["log_scales"])
    return Changed(values, Rows(source, ~(fresh | halves)))
