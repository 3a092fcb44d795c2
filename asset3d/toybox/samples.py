"""Training samples of the toybox, made in memory from seeds. Letters in shapes: N samples, V views, H rows, W columns.

    samples = Samples("train", rig="zero123", count=12, size=64)
    loader = torch.utils.data.DataLoader(samples, batch_size=16, num_workers=2, collate_fn=stack)

A sample is decided to the bit by its seed and these settings: not by the batch, the order, the process or the number
of threads. Index k is always the same seed, and neighbours are of different categories, so that a training that takes
the indices in turn is shuffled already and goes on exactly where it was stopped.
"""
from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.utils.data import Dataset

from asset3d.errors import InputError
from asset3d.scene import rigs
from asset3d.scene.camera import Camera
from asset3d.toybox.catalog import CATEGORIES, HELD_OUT, Split, ToyObject, check_split, make_object
from asset3d.toybox.draw import Draw
from asset3d.toybox.render import render_maps

HELD_SEEDS = 100_000
"""Length of the held-out split; there are as many seeds below `HELD_OUT` as its name says."""
Rig = Callable[[torch.Generator, int, int], Camera]
"""Draws cameras: (generator, count, size) -> cameras."""
RIGS: dict[str, Rig] = {"zero123": rigs.zero123, "views": rigs.random_views, "hifi123": rigs.hifi123}


@dataclass(frozen=True)
class Views:
    """What V cameras see of one object."""

    color: Float[Tensor, "V H W 4"]
    """sRGB, straight alpha; 0 where nothing is."""
    depth: Float[Tensor, "V H W 1"]
    """Along the optical axis at the pixel centres, 0 where nothing is."""
    normal: Float[Tensor, "V H W 3"]
    """Unit, in the world, 0 where nothing is."""


@dataclass(frozen=True)
class Sample:
    """One object and its views."""

    seed: int
    category: str
    caption: str
    camera: Camera
    views: Views


@dataclass(frozen=True)
class Batch:
    """Samples, stacked."""

    seeds: list[int]
    categories: list[str]
    captions: list[str]
    camera_to_world: Float[Tensor, "N V 4 4"]
    intrinsics: Float[Tensor, "N V 4"]
    color: Float[Tensor, "N V H W 4"]
    depth: Float[Tensor, "N V H W 1"]
    normal: Float[Tensor, "N V H W 3"]


def texture_size_for(size: int) -> int:
    """The texture of views with that many rows: four texels per row, a power of two from 256 to 4096."""
    return min(max(256, 1 << (4 * size - 1).bit_length()), 4096)


def views(toy: ToyObject | int, camera: Camera, size: int | None = None) -> Views:
    """Views of an object.

    Args:
        toy: The object, or its seed.
        camera: V cameras.
        size: Rows and columns, when they should not be those of the cameras.
    """
    camera = camera if size is None else camera.resized(size, size)
    if isinstance(toy, int):
        toy = make_object(toy, texture_size=texture_size_for(camera.height))
    maps = render_maps(toy.mesh, camera)
    return Views(torch.cat([maps["color"], maps["alpha"]], -1), maps["depth"], maps["normal"])


def cameras(seed: int, rig: str | Rig = "zero123", count: int = 12, size: int = 64, draw: int = 0) -> Camera:
    """Cameras that belong to a seed.

    Args:
        seed: Of the object.
        rig: A name of `RIGS`, or a function of (generator, count, size).
        count: How many.
        size: Rows and columns of their images.
        draw: Other numbers give other cameras for the same object.
    """
    if isinstance(rig, str) and rig not in RIGS:
        raise InputError(f"toybox: rig: {rig!r} is unknown; choose from {', '.join(RIGS)}")
    generator = torch.Generator().manual_seed(int(Draw(seed, draw, 0xCA3E8A).uniform() * 2**53))
    return (RIGS[rig] if isinstance(rig, str) else rig)(generator, count, size)


class Samples(Dataset):
    """The samples of a split by index: `len` of them, any order, any number of processes."""

    def __init__(self, split: Split = "train", rig: str | Rig = "zero123", count: int = 12, size: int = 64,
                 categories: tuple[str, ...] = CATEGORIES):
        """
        Args:
            split: "train": seeds below 900000; "held": those from there on.
            rig: See `cameras`.
            count: Views of each object.
            size: Their rows and columns.
            categories: To choose from. `HELD_CATEGORIES` and `ALL_CATEGORIES` exist in split "held" only.
        """
        self.first = 0 if split == "train" else HELD_OUT
        check_split(split, self.first, tuple(categories))
        self.split, self.rig, self.count, self.size = split, rig, count, size
        self.categories = tuple(categories)

    def __len__(self) -> int:
        return HELD_OUT if self.split == "train" else HELD_SEEDS

    def __getitem__(self, index: int) -> Sample:
        """The sample with seed `index` of the training split, 900000 + `index` of the held-out one."""
        if not 0 <= index < len(self):
            raise IndexError(f"toybox: index must be from 0 to {len(self) - 1}, got {index}")
        return self.of_seed(self.first + index)

    def of_seed(self, seed: int) -> Sample:
        """The sample of a seed; InputError when the seed is not of this split."""
        toy = self.object(seed)
        camera = cameras(seed, self.rig, self.count, self.size)
        return Sample(seed, toy.category, toy.caption, camera, views(toy, camera))

    def object(self, seed: int) -> ToyObject:
        """The object of a seed, for views of other cameras; InputError when the seed is not of this split."""
        check_split(self.split, seed, self.categories)
        return make_object(seed, self.categories, texture_size_for(self.size))


def stack(samples: list[Sample]) -> Batch:
    """Samples of one size as a batch: the `collate_fn` of a DataLoader."""
    of_views = lambda name: torch.stack([getattr(s.views, name) for s in samples])
    of_camera = lambda name: torch.stack([getattr(s.camera, name) for s in samples])
    return Batch([s.seed for s in samples], [s.category for s in samples], [s.caption for s in samples],
                 of_camera("camera_to_world"), of_camera("intrinsics"),
                 of_views("color"), of_views("depth"), of_views("normal"))
