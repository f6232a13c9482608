"""
Images.
"""

from fal_compat.toolkit.image.image import *  # noqa: F403  # as fal's does
