"""Posed pictures of a procedural object, for trying things out without photos of one's own."""
from collections.abc import Mapping
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from asset3d.registry import register
from asset3d.scene.camera import orbit
from asset3d.scene.image import load_image
from asset3d.scene.views import Views, load_view_set
from asset3d.stage.base import Stage, StageConfig
from asset3d.toybox import CATEGORIES, make_object
from asset3d.toybox.write import INPUT_VIEW, write_input, write_view_set
from asset3d.workspace import atomic_folder


class SampleViewsConfig(StageConfig):
    """A view set of the toybox: 48 views to fit and 12 to judge by."""

    type: Literal["sample_views"] = "sample_views"
    category: Literal[CATEGORIES] = "mushroom"
    """What the object is."""
    object_seed: int = Field(0, ge=0, lt=2**53)
    """Which object of this category."""
    size: int = Field(256, ge=32, le=2048)
    """Rows and columns of the pictures."""
    give: Literal["views", "front"] = "views"
    """views: 48 views to fit; front: a single picture from the front, in the canonical frame, for recipes of one image.
    Either way 12 views are kept to judge by."""


@register("stage", SampleViewsConfig)
class SampleViews(Stage):
    """Writes the pictures into its folder, where they can be looked at, and loads them as `load_views` would."""

    writes = ("views",)

    @classmethod
    def gives_of(cls, config, given):
        return {"views": ()}  # neither depth nor normal maps

    def start(self) -> int:
        return 1

    def step(self, step: int) -> Mapping[str, float]:
        toy = make_object(self.config.object_seed, (self.config.category,))
        self.context.emit("message", text=toy.caption)
        with atomic_folder(self._folder) as folder:  # `finish` reads it again in every process that resumes the run
            write_view_set(toy.mesh, folder, self.config.size)
            write_input(toy.mesh, folder, self.config.size)
        return {}

    def finish(self) -> Mapping[str, Any]:
        one = self.config.give == "front"
        views = load_view_set(self._folder, fit=not one, between=self.context.raise_if_cancelled)
        if one:
            views = replace(views, train=self._front())
        self.context.emit("manifest", frame=asdict(views.frame))
        return {"views": views.to(self.context.device)}

    def _front(self) -> Views:
        view, size, picture = INPUT_VIEW, self.config.size, load_image(self._folder / "input.png")
        camera = orbit(view["azimuth"], view["elevation"], view["distance"], view["fov"], size)
        return Views(camera, picture.color[None], picture.alpha[None], ("input",))

    @property
    def _folder(self) -> Path:
        return self.context.folder / "views"
