"""Images."""

from fal_serve.media.fields import ImageField as ImageField
from fal_serve.media.fields import ImageSizeField as ImageSizeField
from fal_serve.media.images import IMAGE_SIZE_PRESETS as IMAGE_SIZE_PRESETS
from fal_serve.media.images import MAX_IMAGE_DOWNLOAD_SIZE as MAX_IMAGE_DOWNLOAD_SIZE
from fal_serve.media.images import Image as Image
from fal_serve.media.images import ImageFormat as ImageFormat
from fal_serve.media.images import ImageSize as ImageSize
from fal_serve.media.images import ImageSizeInput as ImageSizeInput
from fal_serve.media.images import ImageSizePreset as ImageSizePreset
from fal_serve.media.images import get_image_size as get_image_size
from fal_serve.media.images import read_image_from_url as read_image_from_url
