"""Models and fields."""

from pydantic import Field as Field

from fal_serve.media.fields import AudioField as AudioField
from fal_serve.media.fields import FalBaseModel as FalBaseModel
from fal_serve.media.fields import FileField as FileField
from fal_serve.media.fields import Hidden as Hidden
from fal_serve.media.fields import ImageField as ImageField
from fal_serve.media.fields import VideoField as VideoField

IS_PYDANTIC_V2 = True
