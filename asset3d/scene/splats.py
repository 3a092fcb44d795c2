"""Gaussian splats as plain data, and loading them. Letters in shapes: N Gaussians, K terms of spherical harmonics."""
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.errors import InputError
from asset3d.scene._gltf import read_limited
from asset3d.scene._splats_gltf import has_splats, read_splats_gltf
from asset3d.scene._splats_ply import is_splats_ply, read_splats_ply
from asset3d.scene._untrusted import LARGEST
from asset3d.scene.conventions import quaternion_from_rotation, rotation_matrices, similarity
from asset3d.scene.harmonics import CONSTANT, degree_of, rotation_of_terms

LARGEST_SCALE = 1e9
"""Above, a Gaussian is no part of any object; its square still fits into float32."""


@dataclass
class Splats:
    """Gaussians with opacity and view-dependent colour, blended front to back in sRGB (Kerbl et al. 2023)."""

    means: Float[Tensor, "N 3"]
    quats: Float[Tensor, "N 4"]
    """Unit, wxyz: from the Gaussian's axes to the world."""
    scales: Float[Tensor, "N 3"]
    """Standard deviations along the Gaussian's axes."""
    opacities: Float[Tensor, "N"]
    """In [0, 1]."""
    harmonics: Float[Tensor, "N K 3"]
    """Colour = 0.5 + sum of coefficient times term in the direction from the camera to the mean; K is 1, 4, 9 or 16."""

    def __len__(self) -> int:
        return self.means.shape[0]

    def __getitem__(self, index) -> "Splats":
        """The Gaussians at a slice, mask or index tensor."""
        return Splats(**{field.name: getattr(self, field.name)[index] for field in fields(self)})

    @property
    def degree(self) -> int:
        """Of the spherical harmonics."""
        return degree_of(self.harmonics.shape[1])

    @property
    def colors(self) -> Float[Tensor, "N 3"]:
        """sRGB in [0, 1], the mean over all directions."""
        return (self.harmonics[:, 0] * CONSTANT + 0.5).clamp(0, 1)

    def to(self, device) -> "Splats":
        return Splats(**{field.name: getattr(self, field.name).to(device) for field in fields(self)})

    def transformed(self, matrix: Float[Tensor, "4 4"]) -> "Splats":
        """Moved, turned (or mirrored) and scaled alike in all directions.

        Raises:
            ValueError: The matrix stretches directions differently, or has no inverse.
        """
        matrix = torch.as_tensor(matrix, dtype=torch.float64, device="cpu")
        linear = matrix[:3, :3]
        scale, turn = similarity(linear.numpy())
        turn = torch.from_numpy(turn)
        device = self.means.device
        moved = self.means.double() @ linear.T.to(device) + matrix[:3, 3].to(device)
        quats, harmonics = self.quats, self.harmonics
        if float((turn - torch.eye(3)).abs().max()) > 1e-12:
            # an ellipsoid is its own mirror image: a reflection turns it as the rotation -turn does
            proper = turn if float(torch.linalg.det(turn)) > 0 else -turn
            quats = multiplied(torch.from_numpy(quaternion_from_rotation(proper.numpy())).to(device), quats.double())
            terms = rotation_of_terms(turn, self.degree).to(device)
            harmonics = torch.einsum("jk,nkc->njc", terms, harmonics.double())
        dtype = self.means.dtype
        return Splats(moved.to(dtype), quats.to(dtype), self.scales * scale, self.opacities, harmonics.to(dtype))


def multiplied(a: Float[Tensor, "4"], b: Float[Tensor, "N 4"]) -> Float[Tensor, "N 4"]:
    """Quaternions a * b, wxyz: first b turns, then a."""
    w, v = a[0], a[1:]
    return torch.cat([(w * b[:, :1] - b[:, 1:] @ v[:, None]),
                      w * b[:, 1:] + b[:, :1] * v + torch.linalg.cross(v.expand_as(b[:, 1:]), b[:, 1:])], -1)


def holds_splats(path: Path) -> bool:
    """Whether a .ply, .glb or .gltf file holds Gaussian splats; InputError when its structure cannot be read."""
    suffix = Path(path).suffix.lower()
    if suffix == ".ply":
        return is_splats_ply(path, read_limited(Path(path)))
    return suffix in (".glb", ".gltf") and has_splats(path)


def load_splats(path: Path, normalize_quats: bool = True) -> tuple[Splats, tuple[str, ...]]:
    """Load Gaussian splats in the world of the file, and what was unusual about it.

    A PLY as Inria's code and gsplat write it, or a glTF file with KHR_gaussian_splatting. Gaussians that are not
    finite, or beyond any object, are left out and counted in the remarks.

    Args:
        path: A .ply, .glb or .gltf file.
        normalize_quats: False for a checkpoint that was trained with quaternions of any length as they are, without
            dividing by it: its Gaussians are given the unit quaternions and scales that show the same.

    Raises:
        InputError: Unreadable, unsound, or without any Gaussian.
    """
    path = Path(path)
    if path.suffix.lower() == ".ply":
        arrays, notes = read_splats_ply(path, read_limited(path))
        splats = _sound(path, arrays, notes, normalize_quats)
    elif path.suffix.lower() in (".glb", ".gltf"):
        parts, notes = read_splats_gltf(path)
        splats = joined([_sound(path, arrays, notes, normalize_quats).transformed(torch.from_numpy(matrix))
                         for arrays, matrix in parts])
    else:
        raise InputError(f"{path}: '{path.suffix}' files hold no splats that are read; give a .ply or .glb file")
    return splats, tuple(dict.fromkeys(notes))


def joined(parts: list[Splats]) -> Splats:
    """All Gaussians of several; coefficients that one lacks are 0."""
    terms = max(part.harmonics.shape[1] for part in parts)
    padded = [torch.nn.functional.pad(part.harmonics, (0, 0, 0, terms - part.harmonics.shape[1])) for part in parts]
    stack = lambda name: torch.cat([getattr(part, name) for part in parts])
    return Splats(*(stack(name) for name in ("means", "quats", "scales", "opacities")), torch.cat(padded))


def in_unit_form(quats: Float[Tensor, "N 4"], scales: Float[Tensor, "N 3"]) -> tuple[Tensor, Tensor]:
    """Unit quaternions (N, 4) and scales (N, 3) of the Gaussians that quaternions of any length show when they are not
    divided by it.

    Then what they stand for is no rotation, M say, and turning the object would not turn it: keeping lengths could not
    be placed or exported. The covariance M S S M^T is that of a Gaussian like all others, which the singular values and
    left singular vectors of M S give.
    """
    axes, scales, _ = torch.linalg.svd(rotation_matrices(quats.double()) * scales.double()[:, None])
    axes = axes * torch.linalg.det(axes)[:, None, None].sign()
    return torch.from_numpy(quaternion_from_rotation(axes.numpy())), scales


def _sound(path: Path, arrays: dict[str, np.ndarray], notes: list[str], normalize_quats: bool) -> Splats:
    """The Gaussians that can be drawn."""
    length = np.linalg.norm(arrays["quats"].astype(np.float64), axis=1)
    ok = (abs(arrays["means"]) < LARGEST).all(1) & (arrays["scales"] < LARGEST_SCALE).all(1)
    ok &= (arrays["scales"] >= 0).all(1) & (length > 1e-12) & np.isfinite(length)
    ok &= np.isfinite(arrays["opacities"]) & (abs(arrays["harmonics"]) < LARGEST_SCALE).all((1, 2))
    if not ok.any():
        raise InputError(f"{path}: none of its {len(ok)} Gaussians is finite; train it again")
    if not ok.all():
        notes.append(f"{int((~ok).sum())} of {len(ok)} Gaussians are not finite or absurdly large, and left out")
    arrays = {name: torch.from_numpy(np.ascontiguousarray(values[ok], np.float32)) for name, values in arrays.items()}
    quats, scales = torch.nn.functional.normalize(arrays["quats"].double(), dim=-1), arrays["scales"]
    if not normalize_quats:
        quats, scales = in_unit_form(arrays["quats"], scales)
    return Splats(arrays["means"], quats.float(), scales.float(), arrays["opacities"].clamp(0, 1), arrays["harmonics"])
