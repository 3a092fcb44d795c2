"""Pinhole cameras. Letters in shapes: B cameras, H rows, W columns, R rays.

Axes of a camera are OpenGL's: x right, y up, looking along -z. Pixel centres lie at +0.5, row 0 is the top row.
"""
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import normalize, pad

OBJECT_RADIUS = 0.9
"""Of a ball around the object's cube [-0.5, 0.5]^3, whose half diagonal is 0.87."""
NEAREST = 0.01
"""The smallest distance of a near plane, for cameras close to the object or inside its ball."""


@dataclass(frozen=True)
class Camera:
    """A batch of B pinhole cameras of one image size."""

    camera_to_world: Float[Tensor, "B 4 4"]
    intrinsics: Float[Tensor, "B 4"]
    """fx, fy, cx, cy in pixels."""
    width: int
    height: int

    def __len__(self) -> int:
        return self.camera_to_world.shape[0]

    def __getitem__(self, index) -> "Camera":
        """The cameras at an index, slice, or index tensor; always a batch."""
        index = [index] if isinstance(index, int) else index
        return replace(self, camera_to_world=self.camera_to_world[index], intrinsics=self.intrinsics[index])

    def to(self, device) -> "Camera":
        return replace(self, camera_to_world=self.camera_to_world.to(device), intrinsics=self.intrinsics.to(device))

    @property
    def position(self) -> Float[Tensor, "B 3"]:
        return self.camera_to_world[:, :3, 3]

    @property
    def forward(self) -> Float[Tensor, "B 3"]:
        """Unit optical axes in world space."""
        return -self.camera_to_world[:, :3, 2]

    def world_to_camera(self) -> Float[Tensor, "B 4 4"]:
        rotation = self.camera_to_world[:, :3, :3].transpose(1, 2)
        out = torch.zeros_like(self.camera_to_world)
        out[:, :3, :3] = rotation
        out[:, :3, 3] = -(rotation @ self.camera_to_world[:, :3, 3:])[..., 0]
        out[:, 3, 3] = 1
        return out

    def resized(self, height: int, width: int) -> "Camera":
        """The same cameras with images of another size."""
        sx, sy = width / self.width, height / self.height
        scale = self.intrinsics.new_tensor([sx, sy, sx, sy])
        return replace(self, intrinsics=self.intrinsics * scale, width=width, height=height)

    def directions(self, pixels: Float[Tensor, "B N 2"]) -> Float[Tensor, "B N 3"]:
        """Unit world-space directions through pixel positions (column, row), of each camera's own pixels."""
        fx, fy, cx, cy = self.intrinsics[:, None].unbind(-1)
        x, y = (pixels[..., 0] - cx) / fx, -(pixels[..., 1] - cy) / fy
        local = torch.stack([x, y, -torch.ones_like(x)], -1)
        return normalize(local @ self.camera_to_world[:, :3, :3].transpose(1, 2), dim=-1)

    def rays(self) -> tuple[Float[Tensor, "B H W 3"], Float[Tensor, "B H W 3"]]:
        """Origins and unit directions through every pixel centre."""
        like = self.intrinsics
        rows = torch.arange(self.height, device=like.device, dtype=like.dtype) + 0.5
        columns = torch.arange(self.width, device=like.device, dtype=like.dtype) + 0.5
        row, column = torch.meshgrid(rows, columns, indexing="ij")
        pixels = torch.stack([column, row], -1).reshape(1, -1, 2).expand(len(self), -1, -1)
        shape = (len(self), self.height, self.width, 3)
        return self.position[:, None, None].expand(shape), self.directions(pixels).reshape(shape)

    def project(self, points: Float[Tensor, "N 3"]) -> tuple[Float[Tensor, "B N 2"], Float[Tensor, "B N"]]:
        """Pixel positions (column, row) and depths along the optical axis of world points."""
        local = points @ self.camera_to_world[:, :3, :3] - (self.position[:, None] @ self.camera_to_world[:, :3, :3])
        depth = -local[..., 2]
        fx, fy, cx, cy = self.intrinsics[:, None].unbind(-1)
        return torch.stack([fx * local[..., 0] / depth + cx, cy - fy * local[..., 1] / depth], -1), depth

    def clip_from_world(self, radius: float | Float[Tensor, ""] = OBJECT_RADIUS) -> Float[Tensor, "B 4 4"]:
        """Matrices from world to clip space for `ops.triangle.rasterize`, whose row 0 (y = -1) is the top row here.

        The near and far planes of each camera just hold a ball of that radius around the origin: a long lens from far
        away sees the object as a wide one from close by does, and depths are told apart equally well.
        """
        fx, fy, cx, cy = self.intrinsics.unbind(-1)
        distance = self.position.norm(dim=-1)
        near, far = (distance - radius).clamp(min=NEAREST), distance + radius
        out = torch.zeros_like(self.camera_to_world)
        out[:, 0, 0], out[:, 0, 2] = 2 * fx / self.width, 1 - 2 * cx / self.width
        out[:, 1, 1], out[:, 1, 2] = -2 * fy / self.height, 1 - 2 * cy / self.height
        out[:, 2, 2], out[:, 2, 3] = (far + near) / (near - far), 2 * far * near / (near - far)
        out[:, 3, 2] = -1
        return out @ self.world_to_camera()

    def clip_positions(self, vertices: Float[Tensor, "V 3"]) -> Float[Tensor, "B V 4"]:
        """World points in the clip space of `clip_from_world`, of each camera; what `ops.triangle.rasterize` takes.

        The depth planes hold the object's cube, and points outside of it too, where a world was not fitted.
        """
        reach = vertices.detach().norm(dim=-1).nan_to_num(0, posinf=0)
        radius = pad(1.01 * reach, (0, 1), value=OBJECT_RADIUS).amax()
        return pad(vertices, (0, 1), value=1.0) @ self.clip_from_world(radius).transpose(1, 2)


def orbit_of(camera: Camera) -> Float[Tensor, "B 3"]:
    """Azimuth and elevation in degrees, and distance, of cameras that look at the origin: the inverse of `orbit`."""
    position = camera.position
    distance = position.norm(dim=-1)
    azimuth = torch.rad2deg(torch.atan2(position[:, 0], position[:, 2]))
    return torch.stack([azimuth, torch.rad2deg(torch.arcsin((position[:, 1] / distance).clamp(-1, 1))), distance], -1)


def orbit(azimuth, elevation, distance, fov, height: int, width: int | None = None) -> Camera:
    """Cameras on a sphere around the origin, looking at it.

    Args:
        azimuth: Degrees, (B,) or a number; 0 sees the front (+Z), growing toward +X.
        elevation: Degrees above the horizon, (B,) or a number.
        distance: From the origin, (B,) or a number.
        fov: Vertical field of view in degrees, (B,) or a number.
        height: Image rows; `width` defaults to it.
    """
    width = width or height
    values = [torch.as_tensor(v, dtype=torch.float32).reshape(-1) for v in (azimuth, elevation, distance, fov)]
    azimuth, elevation, distance, fov = torch.broadcast_tensors(*values)
    a, e = torch.deg2rad(azimuth), torch.deg2rad(elevation)
    back = torch.stack([torch.sin(a) * torch.cos(e), torch.sin(e), torch.cos(a) * torch.cos(e)], -1)
    right = torch.stack([torch.cos(a), torch.zeros_like(a), -torch.sin(a)], -1)
    up = torch.linalg.cross(back, right)
    matrix = torch.eye(4).repeat(len(a), 1, 1)
    matrix[:, :3, :3] = torch.stack([right, up, back], -1)
    matrix[:, :3, 3] = back * distance[:, None]
    focal = height / 2 / torch.tan(torch.deg2rad(fov) / 2)
    center = torch.tensor([width / 2, height / 2]).expand(len(a), 2)
    return Camera(matrix, torch.cat([focal[:, None], focal[:, None], center], -1), width, height)
