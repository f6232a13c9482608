"""Images."""

from fal_compat.toolkit.image.image import *  # noqa: F403  # as fal's does
from fal_compat.toolkit.image.pictures import filter_by as filter_by
from fal_compat.toolkit.image.pictures import preprocess_image as preprocess_image
