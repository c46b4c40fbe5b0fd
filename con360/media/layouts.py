"""Choose the projection of a file: what its metadata says, or what the user says of it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from ..choices import LAYOUTS, PROJECTIONS, Layout, ProjectionWord
from ..errors import InputError
from .spherical import WHOLE, SphericalTags

if TYPE_CHECKING:
    from ..geometry.projections import Projection


@dataclass(frozen=True)
class Reading:
    """Take the picture of a file otherwise than its metadata says.

    Args:
        layout: how the eyes lie; `auto` as the metadata says.
        projection: `auto` as the metadata says.
        upright: turn picture and sound as the pose of the camera says that the metadata states.

    Raises:
        InputError: another word.
    """

    layout: Layout = "auto"
    projection: ProjectionWord = "auto"
    upright: bool = False

    def __post_init__(self) -> None:
        for what, word, words in (("layout", self.layout, LAYOUTS), ("projection", self.projection, PROJECTIONS)):
            if word not in words:
                raise InputError(f"the {what} {word!r} is unknown; choose one of {', '.join(words)}.")


AS_TAGGED = Reading()


def tags_as(tags: SphericalTags, reading: Reading) -> SphericalTags:
    """Put what a reading says in place of what the metadata says."""
    if reading.projection != "auto":
        tags = replace(tags, projection=reading.projection, bounds=WHOLE, private=b"")
    return tags if reading.layout == "auto" else replace(tags, stereo=reading.layout, left_first=True)


def projections_of(tags: SphericalTags, upright: bool, name: str) -> tuple[Projection, ...] | None:
    """Make the projection of both eyes, or of each, left first; None for a whole panorama that stays as it is.

    Args:
        upright: as in `Reading`. name: of the file, for errors.

    Raises:
        InputError: the metadata describes none, or one that makes no sense.
    """
    make = _MAKERS.get(tags.projection)
    if make is None and not (upright and any(tags.pose_deg)):
        return None
    try:
        found = (make or _whole)(tags)
    except InputError as error:
        raise InputError(f"{name} cannot be read as it says: {error}. Choose its projection by hand.") from error
    if tags.stereo == "custom" and len(found) < 2:
        raise InputError(
            f"{name} says that a mesh for each eye tells where the eyes lie, and has none. Choose its layout by hand."
        )
    return found


def _whole(tags: SphericalTags) -> tuple[Projection, ...]:
    from ..geometry.projections import Equirectangular

    return (Equirectangular(),)


def _cropped(tags: SphericalTags) -> tuple[Projection, ...]:
    from ..geometry.projections import Equirectangular

    return (Equirectangular(*tags.bounds),)


def _half(tags: SphericalTags) -> tuple[Projection, ...]:
    from ..geometry.projections import Equirectangular

    return (Equirectangular(left=0.25, right=0.25),)


def _tagged_cube(tags: SphericalTags) -> tuple[Projection, ...]:
    """Read a cbmp box; photos that name a cubemap have none, and FFmpeg's layout."""
    from ..geometry.projections import CUBE_3X2, CUBE_CBMP, Cubemap

    if not tags.private:
        return (Cubemap(CUBE_3X2),)
    if len(tags.private) < 12:
        raise InputError("the box that describes its cubemap is cut off")
    layout, padding = struct.unpack(">II", tags.private[4:12])
    if layout:
        raise InputError(f"its cubemap has layout {layout}, and only 0 is known")
    return (Cubemap(CUBE_CBMP, padding),)


def _cube(grid: str) -> Callable[[SphericalTags], tuple[Projection, ...]]:
    def make(tags: SphericalTags) -> tuple[Projection, ...]:
        from ..geometry import projections

        return (projections.Cubemap(getattr(projections, grid)),)

    return make


def _equi_angular(tags: SphericalTags) -> tuple[Projection, ...]:
    from ..geometry.projections import EquiAngular

    return (EquiAngular(),)


def _meshes(tags: SphericalTags) -> tuple[Projection, ...]:
    from .mesh_boxes import meshes_of

    return meshes_of(tags.private)


# What makes the projection that a word of the metadata or of `PROJECTIONS` names. Others are the whole sphere.
_MAKERS: dict[str, Callable[[SphericalTags], tuple[Projection, ...]]] = {
    "cropped": _cropped, "vr180": _half, "cubemap": _tagged_cube, "cubemap-3x2": _cube("CUBE_3X2"),
    "cubemap-6x1": _cube("CUBE_6X1"), "eac": _equi_angular, "mesh": _meshes,
}  # fmt: skip
