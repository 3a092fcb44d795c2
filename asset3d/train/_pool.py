"""Views of many toybox objects on the disk, rendered once. N objects, V views, S rows and columns."""
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import Field
from torch import Tensor

from asset3d import toybox
from asset3d.registry import Config
from asset3d.scene.camera import orbit_of
from asset3d.workspace import atomic_write

FLUSH = 32
"""Objects between two notes of how far a pool is."""


class PoolConfig(Config):
    objects: int = Field(2000, ge=1)
    """Objects of the toybox, of seeds 0, 1, 2, ..."""
    views: int = Field(12, ge=2)
    """Views of each, by the rig of Zero-1-to-3: distance U[1.5, 2.2], fov 49.1, all over the sphere."""
    size: int = Field(64, ge=16)
    """Rows and columns."""
    cache: str | None = None  # no Path: those are inputs, which must not change while a run is interrupted
    """A folder to keep rendered views in; default: asset3d in the user's cache folder."""


class ViewPool:
    """Colour, alpha, depth, camera and caption of every view. Files may be shared by processes that only read.

    The split "train" never holds a held-out object: `toybox.Samples` refuses their seeds.
    """

    def __init__(self, config: PoolConfig, split: str = "train"):
        self.config = config
        self.about = f"toybox {toybox.VERSION}"
        """What a model that learned from it was trained on."""
        self.samples = toybox.Samples(split, "zero123", config.views, config.size)
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "asset3d")
        name = f"toybox-{toybox.VERSION}-{split}-{config.objects}x{config.views}-{config.size}"
        self.folder = Path(config.cache or home).expanduser().absolute() / name

    def prepare(self, tell: Callable[[str], None], raise_if_cancelled: Callable[[], None]) -> "ViewPool":
        """Render what is missing; a pool that was stopped goes on where it was."""
        c = self.config
        self.folder.mkdir(parents=True, exist_ok=True)
        shapes = {"color": ("u1", (c.objects, c.views, c.size, c.size, 4)),
                  "depth": ("f2", (c.objects, c.views, c.size, c.size)),
                  "pose": ("f4", (c.objects, c.views, 3))}
        note = self.folder / "done.json"
        captions = json.loads(note.read_text()) if note.is_file() else []
        mode = "r" if len(captions) == c.objects else "r+" if captions else "w+"
        self.maps = {name: np.lib.format.open_memmap(self.folder / f"{name}.npy", mode, dtype,
                                                     shape if mode == "w+" else None)
                     for name, (dtype, shape) in shapes.items()}
        if len(captions) < c.objects:
            tell(f"rendering {c.objects - len(captions)} toybox objects, once, into {self.folder}")
        while len(captions) < c.objects:
            raise_if_cancelled()
            captions.append(self._render(len(captions)))
            if len(captions) % FLUSH == 0 or len(captions) == c.objects:
                for array in self.maps.values():
                    array.flush()
                atomic_write(note, json.dumps(captions))
        self.captions = captions
        return self

    def _render(self, index: int) -> str:
        sample = self.samples[index]
        self.maps["color"][index] = (sample.views.color.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        self.maps["depth"][index] = sample.views.depth[..., 0].numpy()
        self.maps["pose"][index] = orbit_of(sample.camera).numpy()
        return sample.caption

    def images(self, objects: Int64[Tensor, "B"], views: Int64[Tensor, "B"]) -> Float[Tensor, "B S S 3"]:
        """Views in front of white, as the published models were trained."""
        pixels = torch.from_numpy(self.maps["color"][objects.numpy(), views.numpy()]).float() / 255
        return pixels[..., :3] * pixels[..., 3:] + 1 - pixels[..., 3:]

    def poses(self, objects: Int64[Tensor, "B"], views: Int64[Tensor, "B"]) -> Float[Tensor, "B 3"]:
        """Azimuth and elevation in degrees, distance."""
        return torch.from_numpy(self.maps["pose"][objects.numpy(), views.numpy()])

    def depth(self, objects: Int64[Tensor, "B"], views: Int64[Tensor, "B"]) -> Float[Tensor, "B S S 1"]:
        """Along the optical axis, 0 where nothing is."""
        return torch.from_numpy(self.maps["depth"][objects.numpy(), views.numpy()]).float()[..., None]
