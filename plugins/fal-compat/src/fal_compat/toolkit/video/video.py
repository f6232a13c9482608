"""Videos."""

from fal_serve.media.fields import VideoField as VideoField
from fal_serve.media.images import Video as Video
