"""Real spherical harmonics of degree 0 to 3, in the order and with the signs of splat files. Letters: N points, K
terms.

Source: Kerbl et al. 2023; the appendix of KHR_gaussian_splatting gives the same list, terms of one degree from m = -l
to l.
"""
import torch
from jaxtyping import Float
from torch import Tensor

from asset3d.ops._gaussian_reference import CONSTANT as CONSTANT
from asset3d.ops._gaussian_reference import harmonics_basis

TERMS = (1, 4, 9, 16)
"""Of all degrees up to one."""


def degree_of(terms: int) -> int:
    """The degree that has so many terms.

    Raises:
        ValueError: None has.
    """
    if terms not in TERMS:
        raise ValueError(f"spherical harmonics have {', '.join(map(str, TERMS))} terms, got {terms}")
    return TERMS.index(terms)


def rotation_of_terms(matrix: Float[Tensor, "3 3"], degree: int) -> Float[Tensor, "K K"]:
    """What coefficients are multiplied with, from the left, when what they colour is turned (or mirrored) by a matrix.

    The terms of one degree span a space that rotations do not leave, so values at more directions than there are terms
    determine the matrix exactly.
    """
    matrix = matrix.double()
    directions = torch.randn(64, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    directions = torch.nn.functional.normalize(directions, dim=-1)
    seen, before = harmonics_basis(directions, degree), harmonics_basis(directions @ matrix, degree)
    return torch.linalg.lstsq(seen, before).solution
