"""The first stage of an asset from one photo, or a few: cut out, framed, and given a camera."""
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import Discriminator, Field, Tag, model_validator

from asset3d.errors import InputError
from asset3d.registry import InputPath, register
from asset3d.scene.camera import orbit_of
from asset3d.scene.camera_file import STEEPEST, PhotoCamera, camera_file, read_camera
from asset3d.scene.image import encode_png
from asset3d.scene.matting import Matte, read_matte, require_rembg
from asset3d.scene.photo_remarks import remarks
from asset3d.scene.prepared import EXTENT, extent, framed_by_box, framed_by_camera
from asset3d.scene.views import Frame, Views, ViewSet
from asset3d.stage._elevation import estimated_elevation
from asset3d.stage.base import Stage, StageConfig
from asset3d.workspace import atomic_write

MOST_PHOTOS = 8


def _how_many(given: Any) -> str:
    return "several" if isinstance(given, (list, tuple)) else "one"


Elevation = Annotated[float, Field(ge=-STEEPEST, le=STEEPEST)]
Azimuth = Annotated[float, Field(ge=-360, le=360)]
Images = Annotated[Annotated[InputPath, Tag("one")] | Annotated[list[InputPath], Tag("several")],
                   Discriminator(_how_many)]
Elevations = Annotated[Annotated[Elevation, Tag("one")] | Annotated[list[Elevation], Tag("several")],
                       Discriminator(_how_many)]


class PrepareImageConfig(StageConfig):
    """One photo of an object, or up to eight. A camera file beside a photo, `chair.json` beside `chair.png`, tells its
    camera: `{"fov": degrees, "transform_matrix": camera-to-world, 4 x 4, OpenGL axes}`, looking at the origin."""

    type: Literal["prepare_image"] = "prepare_image"
    image: Images
    """PNG, JPEG or WebP file, or a list of them. A single one, or the first, is the view from azimuth 0."""
    azimuths: list[Azimuth] = []
    """Of several photos without camera files: degrees, one for each; 0 is the front, 90 the object's left hand."""
    elevation: Elevations | None = None
    """Of the camera above the horizon, degrees, where there is no camera file: a number for all photos, or a list with
    one for each. By default it is estimated."""
    size: int = Field(256, ge=32, le=2048)
    """Rows and columns of the prepared photos."""
    cutout: Literal["auto", "alpha", "background", "rembg"] = "auto"
    """What tells the object from the background: the image's alpha, a plain background, the matting network of the
    package rembg, or the first of these that is there."""

    @property
    def images(self) -> list[Path]:
        """All photos."""
        return list(self.image) if isinstance(self.image, (list, tuple)) else [self.image]

    @model_validator(mode="after")
    def _counts_agree(self):
        count = len(self.images)
        if not 1 <= count <= MOST_PHOTOS:
            raise ValueError(f"image: must be 1 to {MOST_PHOTOS} photos, got {count}")
        if self.azimuths and len(self.azimuths) != count:
            raise ValueError(f"azimuths: must be as many as photos, {count}, got {len(self.azimuths)}")
        if isinstance(self.elevation, list) and len(self.elevation) != count:
            raise ValueError(f"elevation: must be a number, or as many as photos, {count}, got {len(self.elevation)}")
        return self


@register("stage", PrepareImageConfig)
class PrepareImage(Stage):
    """Cuts the object out of each photo, warns of what will spoil the asset, and frames the photos as posed views:
    with their own cameras where they have camera files, else with the camera of Zero-1-to-3. Takes no steps."""

    writes = ("views",)

    @classmethod
    def check(cls, config: PrepareImageConfig) -> None:
        _cameras(config)
        if config.cutout == "rembg":
            require_rembg()

    @classmethod
    def files_of(cls, config: PrepareImageConfig) -> dict[str, list[Path]]:
        name = "image.{}" if isinstance(config.image, (list, tuple)) else "image"
        return {name.format(k): [file for file in (image, camera_file(image)) if file is not None]
                for k, image in enumerate(config.images)}

    @classmethod
    def gives_of(cls, config, given):
        return {"views": ()}  # neither depth nor normal maps

    def start(self) -> int:
        mattes = []
        for image in self.config.images:
            self.context.raise_if_cancelled()
            mattes.append(read_matte(image, self.config.cutout))
        cameras = _cameras(self.config)
        views = self._with_cameras(mattes, cameras) if cameras else self._without_cameras(mattes)
        for k, (name, matte) in enumerate(zip(views.names, mattes)):
            self._tell(name, matte)
            path = f"prepared_{k:03d}.png"
            atomic_write(self.context.folder / path, encode_png(views.color[k], views.alpha[k]))
            self.context.emit("preview", path=path, name=name, step=k)
        self.cameras = _described(views, mattes, self.elevation_from, cameras[0].azimuth if cameras else None)
        self.views = ViewSet(views, None, Frame(), tuple(note for matte in mattes for note in matte.notes))
        return 0

    def step(self, step: int) -> Mapping[str, float]:
        raise RuntimeError("prepare_image takes no steps")

    def finish(self) -> Mapping[str, Any]:
        self.context.emit("manifest", frame=asdict(self.views.frame), cameras=self.cameras)
        return {"views": self.views.to(self.context.device)}

    def _with_cameras(self, mattes: list[Matte], cameras: list[PhotoCamera]) -> Views:
        if self.config.elevation is not None or self.config.azimuths:
            self._warn("elevation and azimuths are not used: the photos have camera files, which tell both")
        self.elevation_from = "camera file"
        views = framed_by_camera(mattes, cameras, self.config.size)
        for name, long in zip(views.names, extent(views).tolist()):
            if not EXTENT[0] <= long <= EXTENT[1]:
                self._warn(f"{name}: by its camera file the object is about {long:.2g} long, and should be about 1: "
                           "scale the positions of its cameras")
        self._say(", ".join(f"{name} is seen from an elevation of {camera.elevation:.0f} degrees"
                            for name, camera in zip(views.names, cameras)) + ", as told by camera files")
        return views

    def _without_cameras(self, mattes: list[Matte]) -> Views:
        given, count = self.config.elevation, len(mattes)
        azimuths = self.config.azimuths or [0.0] * count
        frame = lambda elevations: framed_by_box(mattes, azimuths, elevations, self.config.size)
        if given is not None:
            self.elevation_from = "setting"
            return frame(given if isinstance(given, list) else [given] * count)
        guess, how = estimated_elevation(frame([0.0] * count))
        self.elevation_from = f"estimate: {how}"
        self._say(f"assumed: seen from {guess:.0f} degrees above the horizon ({how}); if you know better, set "
                  f"{self.context.name}.elevation")
        return frame([guess] * count)

    def _tell(self, name: str, matte: Matte) -> None:
        self._say(f"{name}: cut out by its {matte.how}" if matte.how != "rembg" else f"{name}: cut out by rembg")
        for note in matte.notes:
            self._say(f"{name}: {note}")
        for text in remarks(matte):
            self._warn(f"{name}: {text}")

    def _say(self, text: str) -> None:
        self.context.emit("message", text=text)

    def _warn(self, text: str) -> None:
        self.context.emit("warning", text=text)


def _cameras(config: PrepareImageConfig) -> list[PhotoCamera]:
    """Of the camera files; none where there are none.

    Raises:
        InputError: One is wrong, some photos have none, or nothing tells where several photos were taken from.
    """
    files = [camera_file(image) for image in config.images]
    if all(files):
        return [read_camera(file) for file in files]
    if any(files):
        name = config.images[files.index(None)].with_suffix(".json")
        raise InputError(f"{name}: is missing, while other photos have camera files; give all of them one, or none")
    if len(files) > 1 and not config.azimuths:
        raise InputError(f"stage '{config.name or config.type}': nothing tells where the {len(files)} photos were "
                         "taken from; set azimuths (degrees, one for each; 0 is the front, 90 the object's left hand), "
                         "or give each a camera file")
    return []


def _described(views: Views, mattes: list[Matte], elevation_from: str, azimuth: float | None) -> list[dict]:
    """What the manifest says of each camera; `turned` are the degrees that camera files were turned by."""
    pose = orbit_of(views.camera)
    fov = torch.rad2deg(2 * torch.atan(views.camera.height / 2 / views.camera.intrinsics[:, 1].double()))
    seen_from = [{name: round(float(value), 3) for name, value in zip(("azimuth", "elevation", "distance"), row)}
                 for row in pose]
    return [{"name": views.names[k], "cutout": mattes[k].how, **seen_from[k], "elevation_from": elevation_from,
             "fov": round(float(fov[k]), 3), "turned": None if azimuth is None else round(-azimuth, 3)}
            for k in range(len(views))]
