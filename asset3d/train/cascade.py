"""The refiner of Cascade-Zero123 (Chen et al. 2024): Zero-1-to-3 that is prompted with views of its own making.

A base model draws views around the source and a coarse target; the refiner is given all of them as tokens, in the order
source, coarse target (with a pose of four zeros), self-prompted views. The base is the running average of the refiner
(the paper's equation 13), and its views are kept in a pool, renewed slice by slice while the refiner learns.
"""
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from asset3d.models import Model
from asset3d.prior.base import Condition
from asset3d.prior.zero123 import Zero123, ways, with_second
from asset3d.registry import register
from asset3d.train._diffusion import N_DRAWN, N_VALIDATED, DiffusionConfig, DiffusionTrainer, Held
from asset3d.train._latents import LatentPool
from asset3d.train._prompts import NEARBY, TOGETHER, Pairs, PromptPool
from asset3d.train.base import Draw
from asset3d.train.zero123 import DROPPED, dropped, groups_of


class CascadeTrainConfig(DiffusionConfig):
    type: Literal["cascade"] = "cascade"
    initial: Model
    """The base model, with all its parts: what `train/zero123` makes. The refiner starts from it too."""
    self_prompts: tuple[tuple[float, float], ...] | Literal["random"] = NEARBY
    """Changes of azimuth and elevation, in degrees, from the source to the views that the base draws for the refiner;
    "random": three views from anywhere."""
    coarse_target: bool = True
    """The base draws the target too, as the second token."""
    base: Literal["ema", "frozen"] = "ema"
    """The base follows the running average of the refiner, or stays what it was."""
    sources: int = Field(4096, ge=1)
    """Views of which the base draws others."""
    targets: int = Field(4, ge=1)
    """Target views of each source; 4096 sources with 4 targets are 16384 pairs."""
    regenerations: float = Field(3, ge=0)
    """How often the base's views are drawn anew while the refiner learns, besides the first time."""
    base_steps: int = Field(8, ge=1)
    """Of the base's sampling (the paper: 25)."""
    base_guidance: float = Field(1, ge=0)
    """Guidance of the base's sampling (the paper: 3); 1 is none, at half the cost."""
    source_alone: float = Field(0, ge=0, lt=1)
    """Share of steps at which the refiner is given the source alone, so that it remains a base (the paper: 0)."""
    drop_latents: tuple[float, float] = DROPPED
    """Samples between these shares have no latent (zero123): half of them miss tokens too."""
    drop_prompts: bool = False
    """Leave the self-prompted tokens out too where the others are, so that the unconditional half of guidance is what
    was trained (the paper: no)."""


@register("train", CascadeTrainConfig)
class CascadeTrainer(DiffusionTrainer):
    """Predicts the noise in the latent of a view from one view of the object and what the base makes of that."""

    def build(self, generator: torch.Generator) -> None:
        self.prior = Zero123.load(self.config.initial)
        for part in (self.prior.unet, *self.prior.projections().values()):
            part.requires_grad_(True)
        self.frozen = Zero123.load(self.config.initial) if self.config.base == "frozen" else None

    def prepare(self, tell: Callable[[str], None], raise_if_cancelled: Callable[[], None]) -> None:
        c = self.config
        self.pool = LatentPool(c.data).prepare(self.prior, tell, raise_if_cancelled)
        self.drawn = PromptPool(self.pool, Pairs.of(self.pool, c.sources, c.targets), c)
        self.drawn.fill(self.prior, tell, raise_if_cancelled)
        self.register_buffer("views_drawn", self.drawn.made)  # part of the state of a training
        held = LatentPool(c.data.held(N_VALIDATED), "held")
        self.held_pool = held.prepare(self.prior, tell, raise_if_cancelled)

    def parameter_groups(self):
        return groups_of(self.prior)

    def refresh(self, draw: Draw, averaged: Callable[[], AbstractContextManager]) -> None:
        """Draw the slice of the pool anew whose turn it is, with the base as it is now."""
        together = min(TOGETHER, len(self.drawn))
        renewed = lambda step: int(self.config.regenerations * len(self.drawn) * step / draw.n_steps / together)
        slices = range(renewed(draw.step), renewed(draw.step + 1))
        if not slices:
            return
        with averaged():
            for k in slices:
                entries = torch.arange(k * together, (k + 1) * together) % len(self.drawn)
                self.drawn.draw(self.frozen or self.prior, entries, draw.generator)

    def loss(self, draw: Draw) -> dict[str, Tensor]:
        pairs = self.drawn.pairs
        rows = torch.randint(len(pairs.objects), (draw.batch,), generator=draw.generator)
        columns = torch.randint(pairs.targets.shape[1], rows.shape, generator=draw.generator)
        alone = bool(torch.rand((), generator=draw.generator) < self.config.source_alone)
        condition = self._condition(self.drawn, rows, columns, draw.device, alone)
        n_views = condition.tokens.shape[1] // len(self.prior.projections())
        droppable = [self.config.drop_prompts or k % n_views < 1 + self.config.coarse_target
                     for k in range(condition.tokens.shape[1])]
        condition = dropped(condition, draw, self.config, droppable)
        latents = self.pool.latents_of(pairs.objects[rows], pairs.targets[rows, columns])
        return {"noise": self.denoising_loss(latents, condition, draw)}

    def _condition(self, drawn: PromptPool, rows: Tensor, columns: Tensor, device, alone: bool = False) -> Condition:
        pairs = drawn.pairs
        objects, sources = pairs.objects[rows], pairs.sources[rows]
        prompts, coarse = drawn.of(rows, columns)
        embeddings, poses = drawn.pool.embeddings_of(objects, sources)[:, None], drawn.source[rows, None]
        if not alone:
            embeddings, poses = torch.cat([embeddings, prompts], 1), torch.cat([poses, drawn.prompts[rows]], 1)
        poses = ways(poses, drawn.targets[rows, columns], self.prior.compat)
        if coarse is not None and not alone:
            embeddings, poses = with_second(embeddings, coarse), with_second(poses, torch.zeros_like(poses[:, 0]))
        tokens = self.prior.tokens(embeddings.to(device), poses.to(device))
        return Condition(tokens, drawn.pool.latents_of(objects, sources).to(device))

    def held(self, draw: Draw) -> Held:
        """The base draws here what it would at inference."""
        n = min(N_VALIDATED, len(self.held_pool))
        drawn = PromptPool(self.held_pool, Pairs.of(self.held_pool, n, 1), self.config)
        for entries in torch.arange(len(drawn)).split(TOGETHER):
            drawn.draw(self.frozen or self.prior, entries, draw.generator)
        pairs, first = drawn.pairs, torch.zeros(n, dtype=torch.int64)
        show = lambda views: self.held_pool.views.images(pairs.objects[:N_DRAWN], views[:N_DRAWN])
        condition = self._condition(drawn, torch.arange(n), first, draw.device)
        return Held(condition, self.held_pool.latents_of(pairs.objects, pairs.targets[:, 0]),
                    show(pairs.targets[:, 0]), [show(pairs.sources)])

    def save(self, folder: Path) -> Mapping[str, object]:
        """The refiner; with `base: ema` it is the base too, else that lies beside it in frozen_base/."""
        c = self.config
        self.prior.save(folder)
        if self.frozen is not None:
            self.frozen.save(folder / "frozen_base")
        prompts = c.self_prompts if c.self_prompts == "random" else [list(prompt) for prompt in c.self_prompts]
        return {**self.pool.views.card, "recipe": "train/cascade", "prior": "zero123",
                "self_prompts": prompts,
                "coarse_target": c.coarse_target, "base": "itself" if self.frozen is None else "frozen_base"}
