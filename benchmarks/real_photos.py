"""What do photos that are less clean than renderings cost?

    python benchmarks/real_photos.py VIEWS_DIR --score score_glb.py --photo BACKGROUND.jpg [--only NAME] [key=value ...]

Makes variants of a view set: `masks` (alpha removed, masks/ given), `background` (a photo behind the object, masks/ given),
`exposure` (also up to +-10 % brightness per image), `colmap` (a COLMAP model by pycolmap with radial distortion, masks/
given). Reconstructs each and the original with the same settings, and prints the loss of PSNR on the original's test views.
"""
import argparse
import json
from pathlib import Path

import numpy as np
from PIL import Image

from quality import reconstruct, score

RADIAL = 0.08  # k1 of the COLMAP camera: corners of a square image move by about 4 %


def frames(views: Path) -> tuple[dict, list[tuple[str, np.ndarray, np.ndarray]]]:
    """transforms_train.json, and (name, RGBA in [0, 1], camera-to-world) of every frame."""
    document = json.loads((views / "transforms_train.json").read_text())
    return document, [(frame["file_path"], np.asarray(Image.open(views / frame["file_path"]).convert("RGBA")) / 255.0,
                       np.array(frame["transform_matrix"])) for frame in document["frames"]]


def behind(image: np.ndarray, background: np.ndarray) -> np.ndarray:
    return image[..., :3] * image[..., 3:] + background * (1 - image[..., 3:])


def save(path: Path, image: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray((image.clip(0, 1) * 255 + 0.5).astype(np.uint8).squeeze()).save(path)


def photo_crops(photo: Path, size: tuple[int, int], rng: np.random.Generator):
    """Random crops of a photo, one per call."""
    picture = np.asarray(Image.open(photo).convert("RGB")) / 255.0
    scale = max(1, -(-size[0] * 2 // picture.shape[0]), -(-size[1] * 2 // picture.shape[1]))
    picture = picture.repeat(scale, 0).repeat(scale, 1)
    while True:
        row, column = (rng.integers(0, picture.shape[i] - size[i] + 1) for i in (0, 1))
        yield picture[row:row + size[0], column:column + size[1]]


def with_masks(views: Path, output: Path, photo: Path | None, exposure: float) -> None:
    """The view set without alpha: masks beside the images, optionally a photo behind and unequal brightness."""
    document, images = frames(views)
    rng = np.random.default_rng(0)
    crops = photo_crops(photo, images[0][1].shape[:2], rng) if photo else None
    for name, image, _ in images:
        background = next(crops) if crops else np.ones(3)
        gain = 1 + exposure * rng.uniform(-1, 1)
        save(output / name, behind(image, background) * gain)
        save(output / "masks" / name, image[..., 3:])
    (output / "transforms_train.json").write_text(json.dumps(document))


def as_colmap(views: Path, output: Path) -> None:
    """A COLMAP model with SIMPLE_RADIAL distortion, images and masks bent accordingly."""
    import pycolmap
    from scipy.ndimage import map_coordinates
    from scipy.spatial.transform import Rotation

    document, images = frames(views)
    size = (document["w"], document["h"])
    camera = pycolmap.Camera(model="SIMPLE_RADIAL", camera_id=1, width=size[0], height=size[1],
                             params=[document["fl_x"], document["cx"], document["cy"], RADIAL])
    column, row = np.meshgrid(np.arange(size[0]) + 0.5, np.arange(size[1]) + 0.5)
    flat = camera.cam_from_img(np.stack([column, row], -1).reshape(-1, 2))
    at = [flat[:, 1] * document["fl_y"] + document["cy"] - 0.5, flat[:, 0] * document["fl_x"] + document["cx"] - 0.5]
    model = pycolmap.Reconstruction()
    model.add_camera_with_trivial_rig(camera)
    for index, (name, image, matrix) in enumerate(images):
        flat_image = np.concatenate([behind(image, np.ones(3)), image[..., 3:]], -1)
        bent = np.stack([map_coordinates(flat_image[..., c], at, order=1, mode="nearest") for c in range(4)], -1)
        bent = bent.reshape(size[1], size[0], 4)
        file = Path(name).name
        save(output / "images" / file, bent[..., :3])
        save(output / "masks" / file, bent[..., 3:])
        rotation = (matrix[:3, :3] * [1, -1, -1]).T  # OpenCV axes, world to camera
        pose = pycolmap.Rigid3d(pycolmap.Rotation3d(Rotation.from_matrix(rotation).as_quat()), -rotation @ matrix[:3, 3])
        model.add_image_with_trivial_frame(pycolmap.Image(name=file, camera_id=1, image_id=index + 1), pose)
    (output / "sparse" / "0").mkdir(parents=True, exist_ok=True)
    model.write(output / "sparse" / "0")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("views", type=Path)
    parser.add_argument("--score", type=Path, required=True)
    parser.add_argument("--photo", type=Path, required=True)
    parser.add_argument("--only", action="append")
    parser.add_argument("--output", type=Path, default=Path("outputs/real_photos"))
    given, overrides = parser.parse_known_args()
    variants = {
        "original": None,
        "masks": lambda folder: with_masks(given.views, folder, None, 0),
        "background": lambda folder: with_masks(given.views, folder, given.photo, 0),
        "exposure": lambda folder: with_masks(given.views, folder, None, 0.1),
        "colmap": lambda folder: as_colmap(given.views, folder),
    }
    figures: dict[str, float] = {}
    for name, make in variants.items():
        if given.only and name not in given.only:
            continue
        folder = given.output / given.views.name / name
        folder.mkdir(parents=True, exist_ok=True)
        if make is not None and not (folder / "views").exists():
            make(folder / "views")
        glb, _ = reconstruct(given.views if make is None else folder / "views", folder, overrides)
        figures[name] = score(given.score, glb, given.views)["psnr"]
        print(f"{given.views.name} {name}: {figures[name]:.2f} dB, "
              f"{figures[name] - figures.get('original', figures[name]):+.2f} dB against the original", flush=True)


if __name__ == "__main__":
    main()
