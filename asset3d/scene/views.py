"""Posed images, and loading them. Letters in shapes: B views, H rows, W columns."""
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor

from asset3d.errors import InputError
from asset3d.scene._colmap import find_model, model_files, read_colmap
from asset3d.scene._consistency import contradicting
from asset3d.scene._fit import hull_box, points_box
from asset3d.scene._lens import Lens
from asset3d.scene._photos import CUTOUTS, MASK_HELP, Photo, Pixels, find_mask, planned_lens, read_photo
from asset3d.scene._transforms_json import read_transforms, split_files
from asset3d.scene._untrusted import is_file
from asset3d.scene.camera import Camera
from asset3d.scene.conventions import WORLDS
from asset3d.scene.surface_points import read_surface_points

FILL = 0.95
"""The longest side of the box around the visual hull becomes this long, which leaves room for a surface around it."""
SURFACE = "surface_points.npz"
MAX_VALUES = 2**30
"""Refused above: 4 GiB of colours, masks and maps."""


@dataclass(frozen=True)
class Frame:
    """Where the object sat in the input: input = up(center + scale * inside), where `up` turns +Y to the input's axis.

    `placed` leaves out that turn: the input's place and scale with +Y up, as assets are exported (glTF knows no other
    axis, and importers of +Z up programs turn it back, to where the cameras saw it).
    """

    center: tuple[float, float, float] = (0.0, 0.0, 0.0)
    """In the input's unit, with +Y up."""
    scale: float = 1.0
    up_axis: Literal["y", "z"] = "y"
    """Of the input's world."""

    def placed(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Inside points in the place and scale of the input, with +Y up."""
        return points * self.scale + points.new_tensor(self.center)

    def unplaced(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """The inverse of `placed`."""
        return (points - points.new_tensor(self.center)) / self.scale

    def to_input(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Inside points in the world of the input's files."""
        return self.directions_to_input(self.placed(points))

    def to_inside(self, points: Float[Tensor, "N 3"]) -> Float[Tensor, "N 3"]:
        """Points of the input's files in the inside frame."""
        return self.unplaced(self.directions_to_inside(points))

    def directions_to_input(self, directions: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
        """Unit vectors (normals) of the inside frame in the world of the input's files."""
        return directions @ self._axes(directions).T

    def directions_to_inside(self, directions: Float[Tensor, "... 3"]) -> Float[Tensor, "... 3"]:
        """The inverse of `directions_to_input`."""
        return directions @ self._axes(directions)

    def _axes(self, like: Tensor) -> Float[Tensor, "3 3"]:
        return like.new_tensor(WORLDS["blender" if self.up_axis == "z" else "gltf"].matrix)


@dataclass(frozen=True)
class Views:
    """Posed images of one object, in the inside frame: the object lives in [-0.5, 0.5]^3.

    Views smaller than the largest are padded at the right and bottom; `valid` is false there.
    """

    camera: Camera
    color: Float[Tensor, "B H W 3"]
    """sRGB, straight (not multiplied with alpha)."""
    alpha: Float[Tensor, "B H W 1"]
    names: tuple[str, ...]
    valid: Bool[Tensor, "B H W 1"] | None = None
    depth: Float[Tensor, "B H W 1"] | None = None
    """Along the optical axis, in units of the inside frame; 0 where unknown."""
    normal: Float[Tensor, "B H W 3"] | None = None
    """World space, unit; 0 where unknown."""

    def __len__(self) -> int:
        return len(self.camera)

    def to(self, device) -> "Views":
        move = lambda x: None if x is None else x.to(device)
        return replace(self, camera=self.camera.to(device), color=move(self.color), alpha=move(self.alpha),
                       valid=move(self.valid), depth=move(self.depth), normal=move(self.normal))

    @property
    def on_white(self) -> Float[Tensor, "B H W 3"]:
        """The images in front of white, as priors of single objects were trained."""
        return self.color * self.alpha + 1 - self.alpha

    def __getitem__(self, index) -> "Views":
        index = [index] if isinstance(index, int) else index
        pick = lambda x: None if x is None else x[index]
        device = index.device if isinstance(index, Tensor) else None
        chosen = torch.arange(len(self), device=device)[index].tolist()
        return Views(self.camera[index], self.color[index], self.alpha[index], tuple(self.names[i] for i in chosen),
                     pick(self.valid), pick(self.depth), pick(self.normal))


def joined_views(first: Views, second: Views) -> Views:
    """The views of both, of one size; maps that one of them lacks are left out, and what it does not call invalid is
    valid.

    Raises:
        ValueError: Their images have different sizes.
    """
    sizes = [(views.camera.height, views.camera.width) for views in (first, second)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"joined_views: the images must have one size, got {sizes[0]} and {sizes[1]}")
    stack = lambda name: torch.cat([getattr(first, name), getattr(second, name)])
    both = lambda name: stack(name) if None not in (getattr(first, name), getattr(second, name)) else None
    camera = replace(first.camera, **{name: torch.cat([getattr(first.camera, name), getattr(second.camera, name)])
                                      for name in ("camera_to_world", "intrinsics")})
    valid = None
    if first.valid is not None or second.valid is not None:
        valid = torch.cat([torch.ones_like(v.alpha, dtype=torch.bool) if v.valid is None else v.valid
                           for v in (first, second)])
    return Views(camera, stack("color"), stack("alpha"), first.names + second.names, valid, both("depth"),
                 both("normal"))


@dataclass(frozen=True)
class ViewSet:
    """What a folder of posed photos holds: views to fit, views to judge by, and where the object was."""

    train: Views
    test: Views | None = None
    frame: Frame = field(default_factory=Frame)
    notes: tuple[str, ...] = ()
    """What was unusual about the files and how they were read."""
    surface: Path | None = None
    """`surface_points.npz`, where the set comes with one: `points` and `normals` of the true surface, in the world of
    the files."""
    points: Float[Tensor, "N 3"] | None = None
    """Sparse points of a COLMAP model, in the inside frame."""
    guides: Views | None = None
    """Views that a prior drew for priors to look at; nothing is fitted to them."""

    def to(self, device) -> "ViewSet":
        move = lambda views: views.to(device) if views else None
        return replace(self, train=self.train.to(device), test=move(self.test), guides=move(self.guides),
                       points=None if self.points is None else self.points.to(device))


def load_view_set(path: Path, *, masks: Path | None = None, cutout: str = "auto", max_size: int | None = 1024,
                  holdout: int = 0, fit: bool = True, between: Callable[[], None] = lambda: None) -> ViewSet:
    """Load posed photos: a folder or file of transforms.json, or a COLMAP model with its images.

    Args:
        path: A folder with transforms.json, or transforms_train.json and transforms_test.json (or _val); such a file;
            a folder with `images` and `sparse/0`; or the folder of a COLMAP model.
        masks: Folder of masks; by default the folder `masks` beside the images, when there is one.
        cutout: What tells the object from the background: "masks", "alpha", "background" (a plain one), or "auto": the
            first of these that is there, per image.
        max_size: Images with longer sides (pixels) are shrunk to it; None keeps every pixel.
        holdout: Where the set names no test views, every so-manieth view is held out for testing; 0 holds out none.
        fit: Move and scale the world so that the object lies in [-0.5, 0.5]^3, the longest side of its visual hull
            being FILL; `frame` leads back. Without it the world stays as it is.
        between: Called before every photo and before the fit, which take long; may raise, to stop.

    Raises:
        InputError: With file, what is wrong and what to do.
    """
    photos, points, up_axis = _photos(Path(path))
    _check_names(photos, path)
    if cutout not in CUTOUTS:
        raise InputError(f"cutout: must be one of {', '.join(CUTOUTS)}, got {cutout!r}")
    masks = _masks(Path(path), masks, photos) if cutout in ("auto", "masks") else [None] * len(photos)
    splits = _splits(photos, holdout)
    if not splits["train"]:
        raise InputError(f"{path}: has no training views; add frames to the train split")
    lenses = [planned_lens(photo, max_size) for photo in photos]
    _check_size(photos, lenses, path)
    notes: list[str] = []

    def read(indices: list[int]) -> Views | None:
        def load(index: int) -> Pixels:
            between()
            return read_photo(photos[index], masks[index], cutout, max_size)

        return _views([photos[i] for i in indices], [lenses[i] for i in indices], map(load, indices), notes)

    train, test = (read(splits[s]) for s in ("train", "test"))
    between()
    train = _consistent(train, notes)
    frame = replace(_fitted(train, points, path) if fit else Frame(), up_axis=up_axis)
    sparse = None if points is None else frame.unplaced(torch.from_numpy(points).double()).float()
    return ViewSet(_moved(train, frame), _moved(test, frame) if test else None, frame, tuple(notes),
                   _surface(Path(path)), sparse)


def _surface(path: Path) -> Path | None:
    """The file of the true surface, looked into: a broken one should not be found out after an hour of fitting."""
    surface = (path if path.is_dir() else path.parent) / SURFACE
    if not surface.is_file():
        return None
    read_surface_points(surface)
    return surface


def view_set_files(path: Path, *, masks: Path | None = None, cutout: str = "auto") -> list[Path]:
    """Every file that `load_view_set` reads, found without decoding a photo: cameras, photos, masks, the true surface.

    Raises:
        InputError: As `load_view_set`, for what the camera files say and for files that are missing.
    """
    path = Path(path)
    photos, _, _ = _photos(path, with_points=False)
    cameras = [path] if path.is_file() else [file for file, _ in split_files(path)] or model_files(path)
    found = _masks(path, masks, photos) if cutout in ("auto", "masks") else []
    maps = [file for photo in photos for file in (photo.maps.depth, photo.maps.normal)]
    surface = (path if path.is_dir() else path.parent) / SURFACE
    files = {*cameras, *(photo.image for photo in photos), *found, *maps, surface} - {None}
    return sorted(file for file in files if is_file(file))


def _photos(path: Path, with_points: bool = True) -> tuple[list[Photo], np.ndarray | None, str]:
    """The photos of a view set, its sparse points (N, 3) where the format has them, and its up axis."""
    if not path.exists():
        raise InputError(f"{path}: does not exist; give the folder of a view set")
    if path.is_file() or split_files(path):
        photos, up_axis = read_transforms(path)
        return photos, None, up_axis
    if find_model(path) is not None:
        return *read_colmap(path, with_points), "y"  # COLMAP's worlds have no up axis; they are kept as they are
    raise InputError(f"{path}: is no view set: it has neither transforms.json, nor transforms_train.json, nor a COLMAP "
                     "model (`sparse/0` beside `images`); photos without cameras need COLMAP first")


def _check_names(photos: list[Photo], path) -> None:
    seen: dict[tuple[str, str], Photo] = {}
    for photo in photos:
        if (photo.split, photo.name) in seen:
            raise InputError(f"{path}: image '{photo.name}' is listed twice in the {photo.split} split; "
                             "remove one of the two cameras")
        seen[photo.split, photo.name] = photo


def _masks(path: Path, masks: Path | None, photos: list[Photo]) -> list[Path | None]:
    """One mask file per photo, or None where alpha or the background must tell."""
    if masks is not None and not Path(masks).is_dir():
        raise InputError(f"{masks}: is no folder of masks; {MASK_HELP}")
    folder = path if path.is_dir() else path.parent
    found = []
    for photo in photos:
        if masks is None and photo.mask is not None:
            if not is_file(photo.mask):
                raise InputError(f"{photo.mask}: mask of image '{photo.name}' is missing; add it or remove mask_path")
            found.append(photo.mask)
            continue
        root = _root(folder, photo)
        beside = (photo.image.parent / "masks", photo.image.parent.parent / "masks", root / "masks")
        folders = (Path(masks),) if masks is not None else tuple(f for f in beside if root in (f.parent, *f.parents))
        found.append(find_mask(folders, photo))
    for index, mask in enumerate(found):
        if mask is not None and mask in found[:index]:
            other = photos[found.index(mask)]
            raise InputError(f"{mask}: is the mask of two images, '{other.name}' and '{photos[index].name}'; repeat "
                             "the folders of the images inside the folder of masks")
    return found


def _root(folder: Path, photo: Photo) -> Path:
    """The folder of the view set, in which masks are looked for: `scene`, where it was given as `scene/sparse/0` and
    the photo is in `scene/images`."""
    if folder in photo.image.parents:
        return folder
    levels = len(Path(photo.name).parts)  # of the photo inside the folder of images
    return photo.image.parents[min(levels, len(photo.image.parents) - 1)]


def _splits(photos: list[Photo], holdout: int) -> dict[str, list[int]]:
    """Indices of the training and the test views; validation views stand in for missing test views."""
    by_split = {s: [i for i, p in enumerate(photos) if p.split == s] for s in ("train", "test", "val")}
    train, test = by_split["train"], by_split["test"] or by_split["val"]
    if not test and holdout > 0:
        test = train[holdout // 2::holdout]
        train = [i for i in train if i not in set(test)]
    return {"train": train, "test": test}


def _check_size(photos: list[Photo], lenses: list[Lens], path) -> None:
    """Refuses what would not fit into memory, before any pixel is decoded."""
    height, width = max(lens.height for lens in lenses), max(lens.width for lens in lenses)
    channels = 4 + any(p.maps.depth is not None for p in photos) + 3 * any(p.maps.normal is not None for p in photos)
    values = len(lenses) * height * width * channels
    if values > MAX_VALUES:
        raise InputError(f"{path}: {len(lenses)} views of up to {width} x {height} pixels need "
                         f"{values * 4 / 2**30:.1f} GiB; set a smaller max_size or use fewer views")


def _views(photos: list[Photo], lenses: list[Lens], pixels: Iterable[Pixels], notes: list[str]) -> Views | None:
    """Padded at the right and bottom to one size, in input units; each photo's pixels are let go once they are in."""
    if not photos:
        return None
    shape = (len(photos), max(lens.height for lens in lenses), max(lens.width for lens in lenses))
    color, alpha, valid = torch.zeros(*shape, 3), torch.zeros(*shape, 1), torch.zeros(*shape, 1, dtype=torch.bool)
    depth = torch.zeros(*shape, 1) if any(p.maps.depth is not None for p in photos) else None
    normal = torch.zeros(*shape, 3) if any(p.maps.normal is not None for p in photos) else None
    for index, one in enumerate(pixels):
        height, width = one.color.shape[:2]
        for whole, part in ((color, one.color), (alpha, one.alpha), (valid, one.valid), (depth, one.depth),
                            (normal, one.normal)):
            if part is not None:
                whole[index, :height, :width] = part
        notes.extend(one.notes)
    intrinsics = torch.tensor([[lens.fx, lens.fy, lens.cx, lens.cy] for lens in lenses])
    matrices = torch.from_numpy(np.stack([p.camera_to_world for p in photos]))
    return Views(Camera(matrices, intrinsics, shape[2], shape[1]), color, alpha, tuple(p.name for p in photos),
                 None if valid.all() else valid, depth, normal)


def _consistent(views: Views, notes: list[str]) -> Views:
    """The views without the few whose masks cannot be right."""
    left_out = contradicting(_near(views)[0])
    notes.extend(f"{views.names[i]}: {why}; the view is left out" for i, why in left_out.items())
    return views[[i for i in range(len(views)) if i not in left_out]] if left_out else views


def _near(views: Views) -> tuple[Views, Frame]:
    """The views in a frame around their cameras: in the input they may be far away, too far for float32."""
    position = views.camera.position
    origin = position.mean(0)
    frame = Frame(tuple(origin.tolist()), float((position - origin).norm(dim=-1).max()) or 1.0)
    return _moved(replace(views, depth=None), frame), frame


def _fitted(views: Views, points: np.ndarray | None, path) -> Frame:
    near, frame = _near(views)
    box = hull_box(near.camera, views.alpha, views.valid)
    if box is not None:
        lower, upper = (np.asarray(corner) * frame.scale + np.asarray(frame.center) for corner in box)
    elif points is not None and len(points) >= 8:
        lower, upper = points_box(points)
    else:
        raise InputError(f"{path}: the masks of the {len(views)} training views have no common volume; check that the "
                         "cameras are camera-to-world with OpenGL axes, that up_axis is right, and that the masks are "
                         "white where the object is")
    scale = float((upper - lower).max()) / FILL
    return Frame(tuple(float(c) for c in (lower + upper) / 2), scale)


def _moved(views: Views, frame: Frame) -> Views:
    """The views with cameras and depths in the inside frame, as float32."""
    matrix = views.camera.camera_to_world.double().clone()
    matrix[:, :3, 3] = frame.unplaced(matrix[:, :3, 3])
    depth = None if views.depth is None else views.depth / frame.scale
    return replace(views, camera=replace(views.camera, camera_to_world=matrix.float()), depth=depth)
