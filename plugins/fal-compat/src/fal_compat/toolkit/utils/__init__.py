"""Downloads, and settings of libraries."""

from fal_compat.toolkit.utils.download_utils import *  # noqa: F403  # as fal's does
