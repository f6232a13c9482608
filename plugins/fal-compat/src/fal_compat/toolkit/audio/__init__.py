"""Sounds."""

from fal_compat.toolkit.audio.audio import *  # noqa: F403  # as fal's does
