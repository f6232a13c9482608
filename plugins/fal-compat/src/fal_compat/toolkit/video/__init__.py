"""Videos."""

from fal_compat.toolkit.video.video import *  # noqa: F403  # as fal's does
