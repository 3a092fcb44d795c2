"""The categories of the toybox, and objects by seed."""
from dataclasses import dataclass

from asset3d.errors import InputError
from asset3d.scene.mesh import Mesh
from asset3d.toybox import crockery, figures, furniture, landscape
from asset3d.toybox.draw import Draw
from asset3d.toybox.model import Model

VERSION = "0.1"
"""Changes whenever a seed gives another object than before; recorded with every object."""

MAKERS = {maker.__name__: maker for maker in (
    landscape.mushroom, crockery.mug, crockery.lamp, figures.rocket, furniture.chair, furniture.table, landscape.house,
    landscape.tree, figures.robot, crockery.vase, figures.snowman, crockery.barrel)}
CATEGORIES = tuple(MAKERS)


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
        raise InputError(
            f"toybox: category: {', '.join(unknown) or 'none given'} is unknown; choose from {', '.join(CATEGORIES)}"
        )
    return names


def category_of(seed: int, categories: tuple[str, ...]) -> str:
    """The category of a seed's object: consecutive seeds walk through them in turn."""
    return categories[seed % len(categories)]


def make_object(seed: int, categories: tuple[str, ...] = CATEGORIES, texture_size: int = 1024,
                shading: float = 1.0) -> ToyObject:
    """The object of a seed, always the same one.

    Args:
        seed: Not negative. Consecutive seeds walk through the categories in turn.
        categories: To choose from.
        texture_size: Rows and columns of the texture.
        shading: 1 bakes a soft light from above into the colours, 0 leaves them flat.
    """
    if seed < 0:
        raise InputError(f"toybox: seed must not be negative, got {seed}")
    categories = check_categories(tuple(categories))
    category = category_of(seed, categories)
    model = Model()
    caption = MAKERS[category](Draw(seed, CATEGORIES.index(category)), model)
    return ToyObject(category, seed, caption, model.mesh(texture_size, shading))


def sample_object() -> ToyObject:
    """The object of the quickstart."""
    return make_object(0, ("mushroom",))
