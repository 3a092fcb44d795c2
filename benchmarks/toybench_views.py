"""The novel views of toybench: pairs of given and wanted views of held-out toys, what draws them, and their numbers.

Letters in shapes: B pairs, V given views, S rows and columns.
"""
import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from intervals import bootstrap, settings, shown, table
from jaxtyping import Float
from torch import Tensor

from asset3d.errors import InputError
from asset3d.metric.psnr import psnr
from asset3d.metric.ssim import ssim
from asset3d.prior.base import at_size
from asset3d.prior.zero123 import Zero123, Zero123Config, rig_poses
from asset3d.toybox import ALL_CATEGORIES, CATEGORIES, HELD_CATEGORIES, Samples
from asset3d.train._prompts import NEARBY, around
from asset3d.workspace import atomic_write

GIVEN = 4
"""Views of each object that may be given; one more is wanted."""
BINS = ((0, 45), (45, 90), (90, 135), (135, 180))
"""Degrees of azimuth between the first given view and the wanted one."""
KINDS = {"known": CATEGORIES, "held": HELD_CATEGORIES, "all": ALL_CATEGORIES}
"""Categories that training has seen (other objects of them), categories that it has not, or both."""
MEAN_OF = 64
"""Training objects of which the mean image is taken."""


@dataclass(frozen=True)
class Rules:
    """What all rows of one table have in common."""

    pairs: int = 200
    size: int = 64
    kinds: str = "known"
    """A name of `KINDS`."""
    seed: int = 0
    """Of the noise that samplers start from."""


@dataclass(frozen=True)
class Pairs:
    """Given and wanted views in front of white."""

    seeds: list[int]
    given: Float[Tensor, "B V S S 3"]
    given_poses: Float[Tensor, "B V 3"]
    wanted: Float[Tensor, "B S S 3"]
    wanted_poses: Float[Tensor, "B 3"]

    def generators(self, purpose: str, rules: Rules) -> list[torch.Generator]:
        """One per pair, which depends on nothing but the pair."""
        digest = lambda seed: hashlib.sha256(f"{rules.seed}/{seed}/{purpose}".encode()).digest()
        return [torch.Generator().manual_seed(int.from_bytes(digest(s)[:8], "little") >> 1) for s in self.seeds]

    @property
    def azimuth_distance(self) -> list[float]:
        """Degrees between the first given and the wanted view."""
        turn = (self.wanted_poses[:, 0] - self.given_poses[:, 0, 0] + 180) % 360 - 180
        return turn.abs().tolist()


Draw = Callable[[Pairs, int], Float[Tensor, "B S S 3"]]
"""Draws the wanted views from so many given ones."""


def make_pairs(rules: Rules, first: int, last: int, split: str = "held", size: int | None = None) -> Pairs:
    """Pairs `first` to `last` (not included): one of each object, in the rig of Zero-1-to-3."""
    samples = Samples(split, "zero123", GIVEN + 1, size or rules.size,
                      KINDS[rules.kinds] if split == "held" else CATEGORIES)
    found = [samples[k] for k in range(first, last)]
    color = torch.stack([sample.views.color for sample in found])
    images = color[..., :3] * color[..., 3:] + 1 - color[..., 3:]
    poses = torch.stack([rig_poses(sample.camera) for sample in found])
    return Pairs([sample.seed for sample in found], images[:, :GIVEN], poses[:, :GIVEN], images[:, GIVEN],
                 poses[:, GIVEN])


# ------------------------------------------------------------------------------------------------------------ drawing


@dataclass(frozen=True)
class Sampling:
    """How a model draws."""

    steps: int = 25
    guidance_scale: float = 3.0
    base: str | None = None
    """A model that draws views for a refiner (Cascade-Zero123)."""
    nearby: tuple[tuple[float, float], ...] | str = NEARBY
    """Those views: changes of azimuth and elevation, or "random"."""
    coarse_target: bool = True
    """The base draws the wanted view too, as a first guess."""


def copied(pairs: Pairs, n_given: int) -> Tensor:
    """The first given view, whatever is wanted."""
    return pairs.given[:, 0]


def mean_image(rules: Rules) -> Draw:
    """The mean of wanted views of training objects, whatever is given."""
    mean = make_pairs(rules, 0, MEAN_OF, "train").wanted.mean(0)
    return lambda pairs, n_given: mean.expand_as(pairs.wanted)


def through_autoencoder(name: str, rules: Rules, device: str = "cpu") -> Draw:
    """The wanted view itself, as far as a model's autoencoder can tell it: what no sample of the model exceeds."""
    prior = Zero123.of(Zero123Config(model=name), device)

    @torch.no_grad()
    def draw(pairs: Pairs, n_given: int) -> Tensor:
        wanted = at_size(pairs.wanted, prior.image_size).to(device)
        return at_size(prior.decode(prior.encode(wanted)), rules.size).cpu()

    return draw


def model(name: str, how: Sampling, rules: Rules, device: str = "cpu") -> Draw:
    """Samples of a model, alone or as the refiner of a cascade."""
    prior = Zero123.of(Zero123Config(model=name), device)
    base = None if how.base is None else Zero123.of(Zero123Config(model=how.base), device)

    def sampled(network, pairs, images, poses, wanted, purpose, coarse=None):
        some = {} if coarse is None else {"coarse": coarse}
        condition = network.condition(images.to(device), poses.to(device), wanted.to(device), **some)
        return network.sample(condition, pairs.generators(purpose, rules), steps=how.steps,
                              guidance_scale=how.guidance_scale)

    def draw(pairs: Pairs, n_given: int) -> Tensor:
        images = at_size(pairs.given[:, :n_given].flatten(0, 1), prior.image_size).unflatten(0, (-1, n_given))
        images, poses, coarse = images.to(device), pairs.given_poses[:, :n_given], None
        if base is not None:
            near = around(poses[:, 0], how.nearby)
            drawn = [sampled(base, pairs, images, poses, near[:, k], f"near {k}") for k in range(near.shape[1])]
            if how.coarse_target:
                coarse = sampled(base, pairs, images, poses, pairs.wanted_poses, "coarse")
            images, poses = torch.stack([images[:, 0], *drawn], 1), torch.cat([poses[:, :1], near], 1)
        return at_size(sampled(prior, pairs, images, poses, pairs.wanted_poses, "wanted", coarse), rules.size).cpu()

    draw.image_size = prior.image_size
    return draw


# ------------------------------------------------------------------------------------------------------------ numbers


def measure(label: str, draw: Draw, how: dict, rules: Rules, folder: Path, given: Sequence[int] = (1,),
            batch: int = 20, tell: Callable[[str], None] = lambda text: None) -> dict:
    """The numbers of every pair, from so many given views; kept in a file, and continued there when it is not whole.

    Raises:
        InputError: The file was made with other settings.
    """
    path = folder / f"{label}.json"
    about = json.loads(json.dumps({"rules": asdict(rules), "how": how}))
    kept = json.loads(path.read_text("utf-8")) if path.is_file() else {"label": label, **about, "given": {}}
    if {name: kept[name] for name in about} != about:
        raise InputError(f"{path}: was measured with other settings; give another label or output folder")
    for n in given:
        done = kept["given"].setdefault(str(n), {"psnr": [], "ssim": [], "azimuth_distance": []})
        for first in range(len(done["psnr"]), rules.pairs, batch):
            pairs = make_pairs(rules, first, min(first + batch, rules.pairs))
            drawn = draw(seen_by(draw, rules, pairs), n)
            for name, metric in (("psnr", psnr), ("ssim", ssim)):
                done[name] += [round(float(value), 5) for value in metric(drawn, pairs.wanted)]
            done["azimuth_distance"] += [round(value, 3) for value in pairs.azimuth_distance]
            folder.mkdir(parents=True, exist_ok=True)
            atomic_write(path, json.dumps(kept))
            tell(f"{label}, {n} given: {len(done['psnr'])} of {rules.pairs} pairs")
    return kept


def seen_by(draw: Draw, rules: Rules, pairs: Pairs) -> Pairs:
    """The pairs with given views as large as a model wants them; the wanted ones stay as they are judged."""
    size = getattr(draw, "image_size", rules.size)
    if size <= rules.size:
        return pairs
    first = pairs.seeds[0] - Samples("held").first
    large = make_pairs(rules, first, first + len(pairs.seeds), size=size)
    return Pairs(pairs.seeds, large.given, pairs.given_poses, pairs.wanted, pairs.wanted_poses)


def entries_of(rows: list[dict]) -> list[tuple[str, dict]]:
    """Label and numbers of each line of the table: a row has several where several numbers of views were given."""
    return [(f"{row['label']}, {n} given" if len(row["given"]) > 1 else row["label"], numbers)
            for row in rows for n, numbers in sorted(row["given"].items())]


def report(rows: list[dict], against: str | None = None) -> str:
    """Tables of what was measured: means, by azimuth, and differences to one row over the same pairs."""
    entries = entries_of(rows)
    head = ["", "n", "PSNR", "SSIM", *(f"PSNR {low}–{high}°" for low, high in BINS)]
    lines = [[name, str(len(numbers["psnr"])), shown(bootstrap(numbers["psnr"])), shown(bootstrap(numbers["ssim"]), 3),
              *(shown(bootstrap(within(numbers, *limits))) for limits in BINS)] for name, numbers in entries]
    counts = ", ".join(f"{len(within(entries[0][1], *limits))} at {limits[0]}–{limits[1]}°" for limits in BINS)
    text = table(head, lines) + f"\n\nMeans with bootstrap intervals of 95 %; pairs by azimuth: {counts}.\n"
    text += settings(rows)
    reference = next((numbers for name, numbers in entries if name == against), None)
    if reference is not None:
        differences = [[name, shown(difference(numbers, reference, "psnr"), sign=True),
                        shown(difference(numbers, reference, "ssim"), 3, sign=True)]
                       for name, numbers in entries if numbers is not reference]
        text += f"\nDifferences over the same pairs to {against}:\n\n" + table(["", "PSNR", "SSIM"], differences) + "\n"
    return text


def difference(numbers: dict, reference: dict, name: str) -> tuple[float, float, float]:
    """Of the pairs that both have."""
    return bootstrap([a - b for a, b in zip(numbers[name], reference[name])])


def within(numbers: dict, low: float, high: float) -> list[float]:
    """PSNR of the pairs in a bin of azimuth."""
    return [value for value, angle in zip(numbers["psnr"], numbers["azimuth_distance"])
            if low <= angle < high or angle == high == 180]
