"""What a frozen autoencoder and image encoder make of a pool of views, computed once. N objects, V views."""
import hashlib
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from asset3d.prior.base import Prior
from asset3d.train._pool import PoolConfig, ViewPool
from asset3d.workspace import atomic_path

TOGETHER = 64
"""Views encoded at once."""


class LatentPool:
    """Latents and embeddings of all views of a pool, kept beside it under the hash of the weights that made them."""

    def __init__(self, config: PoolConfig, split: str = "train"):
        self.views = ViewPool(config, split)

    def prepare(self, prior: Prior, tell: Callable[[str], None],
                raise_if_cancelled: Callable[[], None]) -> "LatentPool":
        """Render and encode what is missing. `prior` is on the device to compute on."""
        self.views.prepare(tell, raise_if_cancelled)
        path = self.views.folder / f"latents-{hash_of(prior.vae.encoder, prior.image_encoder)}.npz"
        if not path.is_file():
            tell(f"encoding {self.views.config.objects * self.views.config.views} views, once, into {path}")
            made = self._encode(prior, raise_if_cancelled)
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, **made)
        with np.load(path) as arrays:
            self.latents, self.embeddings = (torch.from_numpy(arrays[name]) for name in ("latents", "embeddings"))
        return self

    @torch.no_grad()
    def _encode(self, prior, raise_if_cancelled) -> dict[str, np.ndarray]:
        n, v = self.views.config.objects, self.views.config.views
        parts = []
        for first in range(0, n * v, TOGETHER):
            raise_if_cancelled()
            index = torch.arange(first, min(first + TOGETHER, n * v))
            images = self.views.images(index // v, index % v).to(prior.signal.device)
            parts.append([part.half().cpu() for part in (prior.encode_unscaled(images), prior.embed(images))])
        latents, embeddings = (torch.cat(some).unflatten(0, (n, v)).numpy() for some in zip(*parts))
        return {"latents": latents, "embeddings": embeddings}

    def __len__(self) -> int:
        return len(self.views.captions)

    def latents_of(self, objects: Int64[Tensor, "..."], views: Int64[Tensor, "..."]) -> Float[Tensor, "... 4 h w"]:
        """Not scaled."""
        return self.latents[objects, views].float()

    def embeddings_of(self, objects: Int64[Tensor, "..."], views: Int64[Tensor, "..."]) -> Float[Tensor, "... D"]:
        return self.embeddings[objects, views].float()


def hash_of(*modules: nn.Module) -> str:
    """Of the weights of modules."""
    digest = hashlib.sha256()
    for module in modules:
        for name, value in sorted(module.state_dict().items()):
            digest.update(name.encode())
            digest.update(value.detach().float().cpu().numpy().tobytes())
    return digest.hexdigest()[:16]
