"""What a base model draws of many sources: the self-prompted views and the coarse targets that a refiner is given.

The self-prompted views depend on the source alone and serve all its targets, so that S sources with T targets each cost
S (P + T) drawings instead of S T (P + 1). Only their embeddings are kept: a refiner sees nothing else of them.

S sources, P self-prompted views, T targets, D width of an embedding.
"""
import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from asset3d.errors import InputError
from asset3d.prior.base import Condition
from asset3d.prior.zero123 import Zero123, relative_pose
from asset3d.train._latents import LatentPool, hash_of
from asset3d.train._pool import mapped
from asset3d.workspace import atomic_write

TOGETHER = 64
"""Views drawn at once."""
NEARBY = ((45.0, 0.0), (-45.0, 0.0), (0.0, 30.0))
"""The self-prompted views of the paper: changes of azimuth and elevation from the source, in degrees."""
RANDOM = 3
"""Self-prompted views at random: as many as there are nearby ones."""


@dataclass(frozen=True)
class Pairs:
    """S sources among the views of a pool and T targets of each: source k is a view of object k modulo their number,
    its targets the views after it. Poses of the views are random, so that there is nothing to draw here."""

    objects: Int64[Tensor, "S"]
    sources: Int64[Tensor, "S"]
    targets: Int64[Tensor, "S T"]

    @classmethod
    def of(cls, pool: LatentPool, n_sources: int, n_targets: int) -> "Pairs":
        n, v = len(pool), pool.views.config.views
        if n_sources > n * v or n_targets >= v:
            raise InputError(f"train: {n_sources} sources with {n_targets} targets each are more than {n} objects with "
                             f"{v} views have; lower `sources` or `targets`, or raise `data.objects` or `data.views`")
        k = torch.arange(n_sources)
        sources = k // n % v
        return cls(k % n, sources, (sources[:, None] + 1 + torch.arange(n_targets)) % v)


def around(source: Float[Tensor, "S 3"], prompts) -> Float[Tensor, "S P 3"]:
    """Poses of self-prompted views: as given, but not over the pole, where azimuth has no meaning; or "random":
    anywhere at the source's distance, the same at each call."""
    if prompts != "random":
        azimuth, elevation, distance = (source[:, None] + source.new_tensor([(*p, 0.0) for p in prompts]).view(-1, 3)
                                        ).unbind(-1)
        return torch.stack([azimuth, elevation.clamp(-89, 89), distance], -1)
    azimuth, height = torch.rand(2, len(source), RANDOM, generator=torch.Generator().manual_seed(0)) * 2 - 1
    distance = source[:, None, 2].expand(-1, RANDOM)
    return torch.stack([180 * azimuth, torch.rad2deg(torch.arcsin(height)), distance], -1)


class PromptPool:
    """The drawings for all pairs, in a fixed order: of each source its P self-prompted views, then its T targets."""

    def __init__(self, pool: LatentPool, pairs: Pairs, config):
        self.pool, self.pairs, self.config = pool, pairs, config
        source = pool.views.poses(pairs.objects, pairs.sources)
        self.prompts = around(source, config.self_prompts)
        targets = pool.views.poses(pairs.objects[:, None].expand_as(pairs.targets), pairs.targets)
        self.source, self.targets = source, targets
        self.goals = torch.cat([self.prompts, targets], 1) if config.coarse_target else self.prompts
        self.made = torch.zeros(*self.goals.shape[:2], pool.embeddings.shape[-1], dtype=torch.float16)

    def __len__(self) -> int:
        return self.goals.shape[0] * self.goals.shape[1]

    def of(self, sources: Int64[Tensor, "B"], targets: Int64[Tensor, "B"]):
        """Embeddings (B, P, D) of self-prompted views, and (B, D) of coarse targets or None."""
        p = self.prompts.shape[1]
        coarse = self.made[sources, p + targets].float() if self.config.coarse_target else None
        return self.made[sources, :p].float(), coarse

    @torch.no_grad()
    def draw(self, base: Zero123, entries: Int64[Tensor, "E"], generator: torch.Generator) -> None:
        """Draw some of the views anew, all different."""
        rows, columns = entries // self.goals.shape[1], entries % self.goals.shape[1]
        objects, views, device = self.pairs.objects[rows], self.pairs.sources[rows], base.signal.device
        way = relative_pose(self.source[rows], self.goals[rows, columns], base.compat)
        tokens = base.tokens(self.pool.embeddings_of(objects, views)[:, None].to(device), way[:, None].to(device))
        images = base.sample(Condition(tokens, self.pool.latents_of(objects, views).to(device)), generator,
                             steps=self.config.base_steps, guidance_scale=self.config.base_guidance, eta=0)
        self.made[rows, columns] = base.embed(images).half().cpu()

    def fill(self, base: Zero123, tell: Callable[[str], None], raise_if_cancelled: Callable[[], None]) -> None:
        """Draw all, once, into a file beside the views; what was stopped goes on where it was. The noise depends on
        the entry alone, so that trainings with the same base share them."""
        key = hashlib.sha256(f"{hash_of(base)} {self.config.base_steps} {self.config.base_guidance}".encode())
        for part in (self.pairs.objects, self.pairs.sources, self.goals):
            key.update(part.numpy().tobytes())
        path = self.pool.views.folder / f"drawn-{key.hexdigest()[:16]}.npy"
        note = path.with_suffix(".json")
        done = json.loads(note.read_text()) if note.is_file() else 0
        file = mapped(path, "r+" if done else "w+", "f2", tuple(self.made.shape))
        self.made.copy_(torch.from_numpy(np.array(file)))
        if done < len(self):
            tell(f"drawing {len(self) - done} views with the base model, once, into {path}")
        while done < len(self):
            raise_if_cancelled()
            entries = torch.arange(done, min(done + TOGETHER, len(self)))
            self.draw(base, entries, torch.Generator().manual_seed(done))
            file.reshape(len(self), -1)[entries] = self.made.flatten(0, 1)[entries].numpy()
            file.flush()
            done += len(entries)
            atomic_write(note, json.dumps(done))
