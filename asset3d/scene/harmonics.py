"""Real spherical harmonics of degree 0 to 3, in the order and with the signs of splat files. Letters: N points, K
terms.

Source: Kerbl et al. 2023; the appendix of KHR_gaussian_splatting gives the same list, terms of one degree from m = -l
to l.
"""
import torch
from jaxtyping import Float
from torch import Tensor

TERMS = (1, 4, 9, 16)
"""Of all degrees up to one."""
CONSTANT = 0.28209479177387814
"""The term of degree 0: a colour c is stored as (c - 0.5) / CONSTANT."""


def basis(directions: Float[Tensor, "N 3"], degree: int) -> Float[Tensor, "N K"]:
    """Values of the terms at unit directions."""
    x, y, z = directions.unbind(-1)
    xx, yy, zz = x * x, y * y, z * z
    out = [torch.full_like(x, CONSTANT)]
    if degree > 0:
        out += [-0.4886025119029199 * y, 0.4886025119029199 * z, -0.4886025119029199 * x]
    if degree > 1:
        out += [1.0925484305920792 * x * y, -1.0925484305920792 * y * z, 0.31539156525252005 * (2 * zz - xx - yy),
                -1.0925484305920792 * x * z, 0.5462742152960396 * (xx - yy)]
    if degree > 2:
        out += [-0.5900435899266435 * y * (3 * xx - yy), 2.890611442640554 * x * y * z,
                -0.4570457994644658 * y * (4 * zz - xx - yy), 0.3731763325901154 * z * (2 * zz - 3 * xx - 3 * yy),
                -0.4570457994644658 * x * (4 * zz - xx - yy), 1.445305721320277 * z * (xx - yy),
                -0.5900435899266435 * x * (xx - 3 * yy)]
    return torch.stack(out, -1)


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
    seen, before = basis(directions, degree), basis(directions @ matrix, degree)
    return torch.linalg.lstsq(seen, before).solution
