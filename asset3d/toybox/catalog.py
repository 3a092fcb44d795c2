"""The categories of the toybox, and objects by seed."""
from dataclasses import dataclass

from typing import Literal

from asset3d.errors import InputError
from asset3d.scene.mesh import Mesh
from asset3d.toybox import animals, crockery, figures, furniture, gifts, landscape, vehicles
from asset3d.toybox.draw import Draw
from asset3d.toybox.model import Model

VERSION = "1.0"
"""Changes whenever a seed gives another object than before; recorded with every object."""

HELD_OUT = 900_000
"""Seeds from here on are held out: no training sees them, tests and benchmarks use them."""
Split = Literal["train", "held"]

MAKERS = {maker.__name__: maker for maker in (
    landscape.mushroom, crockery.mug, crockery.lamp, figures.rocket, furniture.chair, furniture.table, landscape.house,
    landscape.tree, figures.robot, crockery.vase, figures.snowman, crockery.barrel,
    vehicles.car, vehicles.boat, vehicles.locomotive, vehicles.balloon, animals.fish, animals.duck, animals.cat,
    gifts.cake, gifts.clock, gifts.cactus, gifts.drum, gifts.gift,
    vehicles.plane, animals.turtle, gifts.teapot, gifts.lighthouse)}
"""All categories. The place in this order is part of what decides an object: new ones go to the end."""
HELD_CATEGORIES = ("plane", "turtle", "teapot", "lighthouse")
"""Kinds of things that no training sees: they exist with held-out seeds only."""
CATEGORIES = tuple(name for name in MAKERS if name not in HELD_CATEGORIES)
ALL_CATEGORIES = tuple(MAKERS)


@dataclass(frozen=True)
class ToyObject:
    """One object of the toybox."""

    category: str
    seed: int
    caption: str
    mesh: Mesh
    """Box centred at 0, longest side 1, +Y up, front +Z; uvs, normals and a base-colour texture."""


def check_categories(names: tuple[str, ...]) -> tuple[str, ...]:
    """The names, or an `InputError` that lists what exists."""
    unknown = [name for name in names if name not in MAKERS]
    if unknown or not names:
        raise InputError(f"toybox: category: {', '.join(unknown) or 'none given'} is unknown; "
                         f"choose from {', '.join(ALL_CATEGORIES)}")
    return names


def split_of(seed: int) -> Split:
    """The split that a seed belongs to."""
    return "train" if seed < HELD_OUT else "held"


def check_split(split: Split, seed: int, categories: tuple[str, ...]) -> None:
    """InputError unless a seed and all the categories may be used in a split."""
    if split not in ("train", "held"):
        raise InputError(f"toybox: split: must be train or held, got {split!r}")
    if seed < 0:
        raise InputError(f"toybox: seed must not be negative, got {seed}")
    if split_of(seed) != split:
        raise InputError(f"toybox: seed {seed} is not of split={split}: seeds from {HELD_OUT} on are held out, those "
                         "below are for training; choose another seed or the other split")
    held = [name for name in check_categories(categories) if name in HELD_CATEGORIES]
    if split == "train" and held:
        raise InputError(f"toybox: category: {', '.join(held)} is held out; use split=held and seeds from {HELD_OUT} "
                         f"on, or choose from {', '.join(CATEGORIES)}")


def category_of(seed: int, categories: tuple[str, ...]) -> str:
    """The category of a seed's object: consecutive seeds walk through them in turn."""
    return categories[seed % len(categories)]


def make_object(seed: int, categories: tuple[str, ...] = CATEGORIES, texture_size: int = 1024,
                shading: float = 1.0) -> ToyObject:
    """The object of a seed, always the same one.

    Args:
        seed: Not negative. Consecutive seeds walk through the categories in turn. Those from `HELD_OUT` on are for
            judging, not for training.
        categories: To choose from; held-out ones exist with held-out seeds only.
        texture_size: Rows and columns of the texture.
        shading: 1 bakes a soft light from above into the colours, 0 leaves them flat.
    """
    categories = tuple(categories)
    check_split(split_of(seed), seed, categories)
    category = category_of(seed, categories)
    model = Model()
    caption = MAKERS[category](Draw(seed, ALL_CATEGORIES.index(category)), model)
    return ToyObject(category, seed, caption, model.mesh(texture_size, shading))


def sample_object() -> ToyObject:
    """The object of the quickstart."""
    return make_object(0, ("mushroom",))
