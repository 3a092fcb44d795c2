"""What a frozen autoencoder, and an image encoder, make of a pool of views, computed once. N objects, V views."""
import hashlib
from collections.abc import Callable

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from asset3d.prior.base import Prior
from asset3d.train._pool import AnyPool, ViewPool
from asset3d.workspace import atomic_path

TOGETHER = 64
"""Views encoded at once."""


class LatentPool:
    """Latents of all views of a pool, and embeddings where the prior has an image encoder, kept beside the pool under
    the hash of the weights that made them."""

    def __init__(self, config: AnyPool, split: str = "train"):
        self.views = ViewPool(config, split)

    def prepare(self, prior: Prior, tell: Callable[[str], None],
                raise_if_cancelled: Callable[[], None]) -> "LatentPool":
        """Render and encode what is missing. `prior` is on the device to compute on."""
        self.views.prepare(tell, raise_if_cancelled)
        encoders = [prior.vae.encoder, *([prior.image_encoder] if hasattr(prior, "image_encoder") else [])]
        path = self.views.folder / f"latents-{hash_of(*encoders)}.npz"
        if not path.is_file():
            tell(f"encoding {len(self.views) * self.views.config.views} views, once, into {path}")
            made = self._encode(prior, raise_if_cancelled)
            with atomic_path(path) as temporary, open(temporary, "wb") as file:
                np.savez(file, **made)
        with np.load(path) as arrays:
            self.latents = torch.from_numpy(arrays["latents"])
            self.embeddings = torch.from_numpy(arrays["embeddings"]) if "embeddings" in arrays else None
        return self

    @torch.no_grad()
    def _encode(self, prior, raise_if_cancelled) -> dict[str, np.ndarray]:
        n, v = len(self.views), self.views.config.views
        encoders = {"latents": prior.encode_unscaled}
        if hasattr(prior, "image_encoder"):
            encoders["embeddings"] = prior.embed
        parts = {name: [] for name in encoders}
        for index in torch.arange(n * v).split(TOGETHER):
            raise_if_cancelled()
            images = self.views.images(index // v, index % v).to(prior.signal.device)
            for name, encoder in encoders.items():
                parts[name].append(encoder(images).half().cpu())
        return {name: torch.cat(some).unflatten(0, (n, v)).numpy() for name, some in parts.items()}

    def __len__(self) -> int:
        return len(self.views)

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
