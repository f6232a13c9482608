"""Files, and the repositories that keep them."""

from fal_compat.toolkit.file.file import *  # noqa: F403  # as fal's does
