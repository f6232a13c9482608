"""Constraints of media, which schemas tell to clients. Nothing here enforces them."""

from __future__ import annotations

import dataclasses
from typing import Any, TypedDict

#: Settings of downloads, which say nothing about a medium.
_UNTOLD = ("timeout",)

_BOUNDS = ("width", "height", "area", "frames", "duration", "fps", "aspect_ratio")


def to_xfal(config: Any) -> dict[str, Any]:
    """Return the limits that *config* sets, as schemas have them under ``x-fal``."""
    told = dataclasses.asdict(config)
    return {
        key: value for key, value in told.items() if value is not None and key not in _UNTOLD
    }


class _Bounded:
    """Limits of which each least is at most its most."""

    def __post_init__(self) -> None:
        for name in _BOUNDS:
            least = getattr(self, f"min_{name}", None)
            most = getattr(self, f"max_{name}", None)
            if least is not None and most is not None and least > most:
                raise ValueError(f"min_{name} ({least}) is more than max_{name} ({most}).")
        ratios = [getattr(self, f"{each}_aspect_ratio", None) for each in ("min", "max")]
        if not isinstance(self, VideoNormalizationConfig) and ratios.count(None) == 1:
            raise ValueError("min_aspect_ratio and max_aspect_ratio go together.")


@dataclasses.dataclass(frozen=True)
class ImageSizeConstraints(_Bounded):
    """The sizes of images that a model can make."""

    min_width: int | None = None
    min_height: int | None = None
    max_width: int | None = None
    max_height: int | None = None
    min_area: int | None = None
    max_area: int | None = None
    multiple_of: int | None = None
    min_aspect_ratio: float | None = None
    max_aspect_ratio: float | None = None


class ImageValidationOptions(TypedDict, total=False):
    """The limits of an image that is taken, as keywords."""

    max_file_size: int | None
    min_width: int | None
    min_height: int | None
    max_width: int | None
    max_height: int | None
    min_aspect_ratio: float | None
    max_aspect_ratio: float | None
    timeout: float | None


@dataclasses.dataclass(frozen=True)
class ImageValidationConfig(_Bounded):
    """The limits of an image that is taken."""

    max_file_size: int | None = None
    min_width: int | None = None
    min_height: int | None = None
    max_width: int | None = None
    max_height: int | None = None
    min_aspect_ratio: float | None = None
    max_aspect_ratio: float | None = None
    timeout: float = 20.0


class VideoValidationOptions(TypedDict, total=False):
    """The limits of a video that is taken, as keywords."""

    max_file_size: int | None
    min_width: int | None
    min_height: int | None
    max_width: int | None
    max_height: int | None
    min_area: int | None
    max_area: int | None
    min_aspect_ratio: float | None
    max_aspect_ratio: float | None
    min_frames: int | None
    max_frames: int | None
    min_duration: float | None
    max_duration: float | None
    min_fps: float | None
    max_fps: float | None


@dataclasses.dataclass(frozen=True)
class VideoValidationConfig(_Bounded):
    """The limits of a video that is taken. Areas are of a frame, in pixels."""

    max_file_size: int | None = None
    min_width: int | None = None
    min_height: int | None = None
    max_width: int | None = None
    max_height: int | None = None
    min_area: int | None = None
    max_area: int | None = None
    min_aspect_ratio: float | None = None
    max_aspect_ratio: float | None = None
    min_frames: int | None = None
    max_frames: int | None = None
    min_duration: float | None = None
    max_duration: float | None = None
    min_fps: float | None = None
    max_fps: float | None = None


@dataclasses.dataclass(frozen=True)
class VideoNormalizationConfig(_Bounded):
    """What is done with a video that is taken: rescaled, shortened, resampled."""

    min_width: int | None = None
    min_height: int | None = None
    max_width: int | None = None
    max_height: int | None = None
    min_area: int | None = None
    max_area: int | None = None
    max_duration: float | None = None
    fps: float | None = None
