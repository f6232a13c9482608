"""Constraints of media."""

from fal_serve.media.constraints import ImageSizeConstraints as ImageSizeConstraints
from fal_serve.media.constraints import ImageValidationConfig as ImageValidationConfig
from fal_serve.media.constraints import ImageValidationOptions as ImageValidationOptions
from fal_serve.media.constraints import VideoNormalizationConfig as VideoNormalizationConfig
from fal_serve.media.constraints import VideoValidationConfig as VideoValidationConfig
from fal_serve.media.constraints import VideoValidationOptions as VideoValidationOptions
from fal_serve.media.constraints import to_xfal as to_xfal
