"""The toolkit: files and images in requests and responses, and downloads for models."""

from typing import TYPE_CHECKING

from fal_compat.exports import lazily

if TYPE_CHECKING:
    from pydantic import Field as Field

    from fal_compat.toolkit.exceptions import FalTookitException as FalTookitException
    from fal_compat.toolkit.utils.download_utils import (
        FAL_MODEL_WEIGHTS_DIR as FAL_MODEL_WEIGHTS_DIR,
    )
    from fal_compat.toolkit.utils.download_utils import FAL_PERSISTENT_DIR as FAL_PERSISTENT_DIR
    from fal_compat.toolkit.utils.download_utils import FAL_REPOSITORY_DIR as FAL_REPOSITORY_DIR
    from fal_serve.media.clones import clone_repository as clone_repository
    from fal_serve.media.compilation import get_gpu_type as get_gpu_type
    from fal_serve.media.compilation import load_inductor_cache as load_inductor_cache
    from fal_serve.media.compilation import sync_inductor_cache as sync_inductor_cache
    from fal_serve.media.compilation import (
        synchronized_inductor_cache as synchronized_inductor_cache,
    )
    from fal_serve.media.constraints import ImageSizeConstraints as ImageSizeConstraints
    from fal_serve.media.constraints import ImageValidationConfig as ImageValidationConfig
    from fal_serve.media.constraints import ImageValidationOptions as ImageValidationOptions
    from fal_serve.media.constraints import VideoNormalizationConfig as VideoNormalizationConfig
    from fal_serve.media.constraints import VideoValidationConfig as VideoValidationConfig
    from fal_serve.media.constraints import VideoValidationOptions as VideoValidationOptions
    from fal_serve.media.constraints import to_xfal as to_xfal
    from fal_serve.media.downloads import download_file as download_file
    from fal_serve.media.downloads import download_model_weights as download_model_weights
    from fal_serve.media.errors import DownloadError as DownloadError
    from fal_serve.media.errors import FileUploadException as FileUploadException
    from fal_serve.media.errors import KVStoreException as KVStoreException
    from fal_serve.media.fields import AudioField as AudioField
    from fal_serve.media.fields import FalBaseModel as FalBaseModel
    from fal_serve.media.fields import FileField as FileField
    from fal_serve.media.fields import Hidden as Hidden
    from fal_serve.media.fields import ImageField as ImageField
    from fal_serve.media.fields import ImageSizeField as ImageSizeField
    from fal_serve.media.fields import VideoField as VideoField
    from fal_serve.media.files import CompressedFile as CompressedFile
    from fal_serve.media.files import File as File
    from fal_serve.media.images import Audio as Audio
    from fal_serve.media.images import Image as Image
    from fal_serve.media.images import ImageSizeInput as ImageSizeInput
    from fal_serve.media.images import Video as Video
    from fal_serve.media.images import get_image_size as get_image_size
    from fal_serve.media.key_values import KVStore as KVStore
else:
    # At their first use: downloads need the standard library alone, and models pydantic.
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_serve.media.clones": "clone_repository",
            "fal_serve.media.compilation": (
                "get_gpu_type load_inductor_cache sync_inductor_cache "
                "synchronized_inductor_cache"
            ),
            "fal_serve.media.constraints": (
                "ImageSizeConstraints ImageValidationConfig ImageValidationOptions "
                "VideoNormalizationConfig VideoValidationConfig VideoValidationOptions to_xfal"
            ),
            "fal_serve.media.downloads": "download_file download_model_weights",
            "fal_serve.media.errors": (
                "DownloadError FalTookitException=MediaError FileUploadException "
                "KVStoreException"
            ),
            "fal_serve.media.fields": (
                "AudioField FalBaseModel FileField Hidden ImageField ImageSizeField VideoField"
            ),
            "fal_serve.media.files": "CompressedFile File",
            "fal_serve.media.images": "Audio Image ImageSizeInput Video get_image_size",
            "fal_serve.media.key_values": "KVStore",
            "fal_serve.media.places": (
                "FAL_MODEL_WEIGHTS_DIR=WEIGHTS FAL_PERSISTENT_DIR=PERSISTENT "
                "FAL_REPOSITORY_DIR=REPOSITORIES"
            ),
            "pydantic": "Field",
        },
        (
            *("audio", "compilation", "constraints", "exceptions", "file", "image", "kv"),
            *("pydantic", "types", "utils", "video"),
        ),
    )
