"""Views of many objects on the disk, rendered once. N objects, V views, S rows and columns."""
import json
import math
import os
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal, NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from pydantic import Discriminator, Field, Tag
from torch import Tensor

from asset3d import toybox
from asset3d.errors import InputError
from asset3d.registry import Config, InputPath
from asset3d.scene.camera import Camera, orbit_of
from asset3d.train._meshes import Meshes
from asset3d.workspace import atomic_write, room_on_disk

FLUSH = 32
"""Objects between two notes of how far a pool is."""
VIEWS = 12


class _Pool(Config):
    views: int = Field(VIEWS, ge=2)
    """Views of each, by the rig of Zero-1-to-3: distance U[1.5, 2.2], fov 49.1, all over the sphere."""
    size: int = Field(64, ge=16)
    """Rows and columns."""
    cache: str | None = None  # no Path: those are inputs, which must not change while a run is interrupted
    """A folder to keep rendered views in; default: asset3d in the user's cache folder."""


class PoolConfig(_Pool):
    """Toys."""

    type: Literal["toybox"] = "toybox"
    objects: int = Field(2000, ge=1)
    """Objects of the toybox, of seeds 0, 1, 2, ..."""

    def held(self, count: int) -> "PoolConfig":
        """What the held-out pool is made of."""
        return self.model_copy(update={"objects": count})

    def vocabulary(self) -> tuple[str, ...]:
        """The words of all captions."""
        return toybox.VOCABULARY

    def source(self, split: str) -> "Source":
        samples = toybox.Samples(split, "zero123", self.views, self.size)

        def view(index: int) -> Seen:
            sample = samples[index]
            return Seen(sample.views.color, sample.views.depth, sample.camera, sample.caption)

        return Source(f"toybox-{toybox.VERSION}-{split}-{self.objects}x{self.views}-{self.size}",
                      f"toybox {toybox.VERSION}", "CC0-1.0", self.objects, view)


class MeshesConfig(_Pool):
    """Your own objects. Each is moved into the unit cube and shown unlit, or, if it has one colour alone, lit from the
    camera; its file's name is its caption."""

    type: Literal["meshes"]
    folder: InputPath
    """GLB, glTF, OBJ and PLY files, in folders below too."""
    objects: int | None = Field(None, ge=2)
    """At most as many files, those whose names have the smallest hashes; default: all."""
    held_out: float = Field(0.05, gt=0, lt=1)
    """Share of the files that is never trained on, for validation; at least one."""

    def held(self, count: int) -> "MeshesConfig":
        return self

    def vocabulary(self) -> tuple[str, ...]:
        return self._files("train").vocabulary()

    def _files(self, split: str) -> Meshes:
        return Meshes(self.folder, split, self.held_out, self.objects)

    def source(self, split: str) -> "Source":
        meshes = self._files(split)
        return Source(f"meshes-{meshes.key}-{split}-{self.views}-{self.size}", f"{self.folder.name}/",
                      f"as that of {self.folder.name}/ allows", len(meshes),
                      lambda index: Seen(*meshes.seen(index, self.views, self.size)))


def _kind_of_pool(given) -> str:
    return given.get("type", "toybox") if isinstance(given, dict) else getattr(given, "type", "toybox")


AnyPool = Annotated[Annotated[PoolConfig, Tag("toybox")] | Annotated[MeshesConfig, Tag("meshes")],
                    Discriminator(_kind_of_pool)]


class Seen(NamedTuple):
    """What V cameras see of one object."""

    color: Float[Tensor, "V S S 4"]
    depth: Float[Tensor, "V S S 1"]
    camera: Camera
    caption: str


class Source(NamedTuple):
    """Where a pool comes from."""

    name: str
    """Of the pool's folder."""
    about: str
    """What a model that learned from it was trained on."""
    licence: str
    """Of a model that learned from it."""
    count: int
    view: Callable[[int], Seen]
    """Raises InputError for an object that cannot be read."""


def mapped(path: Path, mode: str, dtype: str, shape: tuple[int, ...]) -> np.memmap:
    """An array in a file; a new one ("w+") has its room on the disk, or DiskFull is raised."""
    if mode != "w+":
        return np.lib.format.open_memmap(path, mode)
    with room_on_disk(path, math.prod(shape) * np.dtype(dtype).itemsize):
        return np.lib.format.open_memmap(path, mode, dtype, shape)


class ViewPool:
    """Colour, alpha, depth, camera and caption of every view. Files may be shared by processes that only read.

    The split "train" never holds a held-out object: `toybox.Samples` refuses their seeds. Objects that cannot be read
    are left out, each with a line that names it.
    """

    def __init__(self, config: AnyPool, split: str = "train"):
        self.config = config
        self.source = config.source(split)
        self.card = {"trained on": self.source.about, "licence": self.source.licence}
        """What the card of a model says that learned from it."""
        home = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache", "asset3d")
        self.folder = Path(config.cache or home).expanduser().absolute() / self.source.name

    def prepare(self, tell: Callable[[str], None], raise_if_cancelled: Callable[[], None]) -> "ViewPool":
        """Render what is missing; a pool that was stopped goes on where it was.

        Raises:
            InputError: No object can be read. DiskFull: There is no room for the pool.
        """
        c, n = self.config, self.source.count
        self.folder.mkdir(parents=True, exist_ok=True)
        shapes = {"color": ("u1", (n, c.views, c.size, c.size, 4)), "depth": ("f2", (n, c.views, c.size, c.size)),
                  "pose": ("f4", (n, c.views, 3))}
        note = self.folder / "done.json"
        captions: list[str | None] = json.loads(note.read_text()) if note.is_file() else []
        mode = "r" if len(captions) == n else "r+" if captions else "w+"
        self.maps = {name: mapped(self.folder / f"{name}.npy", mode, *shape) for name, shape in shapes.items()}
        if len(captions) < n:
            tell(f"rendering {n - len(captions)} objects, once, into {self.folder}")
        while len(captions) < n:
            raise_if_cancelled()
            captions.append(self._render(len(captions), tell))
            if len(captions) % FLUSH == 0 or len(captions) == n:
                for array in self.maps.values():
                    array.flush()
                atomic_write(note, json.dumps(captions))
        self.rows = np.array([row for row, caption in enumerate(captions) if caption is not None], dtype=np.int64)
        self.captions: list[str] = [caption for caption in captions if caption is not None]
        if not self.captions:
            raise InputError(f"{self.card['trained on']}: none of its {n} objects can be read")
        return self

    def _render(self, index: int, tell: Callable[[str], None]) -> str | None:
        try:
            seen = self.source.view(index)
        except InputError as error:
            tell(f"left out: {error}")
            return None
        self.maps["color"][index] = (seen.color.clamp(0, 1) * 255).round().to(torch.uint8).numpy()
        self.maps["depth"][index] = seen.depth[..., 0].numpy()
        self.maps["pose"][index] = orbit_of(seen.camera).numpy()
        return seen.caption

    def __len__(self) -> int:
        """Objects that could be read."""
        return len(self.captions)

    def _of(self, name: str, objects: Int64[Tensor, "..."], views: Int64[Tensor, "..."]) -> Tensor:
        return torch.from_numpy(self.maps[name][self.rows[objects.numpy()], views.numpy()])

    def images(self, objects: Int64[Tensor, "B"], views: Int64[Tensor, "B"]) -> Float[Tensor, "B S S 3"]:
        """Views in front of white, as the published models were trained."""
        pixels = self._of("color", objects, views).float() / 255
        return pixels[..., :3] * pixels[..., 3:] + 1 - pixels[..., 3:]

    def poses(self, objects: Int64[Tensor, "..."], views: Int64[Tensor, "..."]) -> Float[Tensor, "... 3"]:
        """Azimuth and elevation in degrees, distance."""
        return self._of("pose", objects, views)

    def depth(self, objects: Int64[Tensor, "B"], views: Int64[Tensor, "B"]) -> Float[Tensor, "B S S 1"]:
        """Along the optical axis, 0 where nothing is."""
        return self._of("depth", objects, views).float()[..., None]
