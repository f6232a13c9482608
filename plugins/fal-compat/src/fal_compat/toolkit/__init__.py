"""The toolkit: files and images in requests and responses, and downloads for models."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_compat.exports import lazily

if TYPE_CHECKING:
    from pydantic import Field

    from fal_serve.media.clones import clone_repository
    from fal_serve.media.compilation import (
        get_gpu_type,
        load_inductor_cache,
        sync_inductor_cache,
        synchronized_inductor_cache,
    )
    from fal_serve.media.constraints import (
        ImageSizeConstraints,
        ImageValidationConfig,
        ImageValidationOptions,
        VideoNormalizationConfig,
        VideoValidationConfig,
        VideoValidationOptions,
        to_xfal,
    )
    from fal_serve.media.downloads import download_file, download_model_weights
    from fal_serve.media.errors import DownloadError, FileUploadException, KVStoreException
    from fal_serve.media.errors import MediaError as FalTookitException
    from fal_serve.media.fields import (
        AudioField,
        FalBaseModel,
        FileField,
        Hidden,
        ImageField,
        ImageSizeField,
        VideoField,
    )
    from fal_serve.media.files import CompressedFile, File
    from fal_serve.media.images import (
        Audio,
        Image,
        ImageSizeInput,
        Video,
        get_image_size,
    )
    from fal_serve.media.key_values import KVStore
    from fal_serve.media.places import PERSISTENT as FAL_PERSISTENT_DIR
    from fal_serve.media.places import REPOSITORIES as FAL_REPOSITORY_DIR
    from fal_serve.media.places import WEIGHTS as FAL_MODEL_WEIGHTS_DIR

__all__ = [
    "FAL_MODEL_WEIGHTS_DIR",
    "FAL_PERSISTENT_DIR",
    "FAL_REPOSITORY_DIR",
    "Audio",
    "AudioField",
    "CompressedFile",
    "DownloadError",
    "FalBaseModel",
    "FalTookitException",
    "Field",
    "File",
    "FileField",
    "FileUploadException",
    "Hidden",
    "Image",
    "ImageField",
    "ImageSizeConstraints",
    "ImageSizeField",
    "ImageSizeInput",
    "ImageValidationConfig",
    "ImageValidationOptions",
    "KVStore",
    "KVStoreException",
    "Video",
    "VideoField",
    "VideoNormalizationConfig",
    "VideoValidationConfig",
    "VideoValidationOptions",
    "clone_repository",
    "download_file",
    "download_model_weights",
    "get_gpu_type",
    "get_image_size",
    "load_inductor_cache",
    "sync_inductor_cache",
    "synchronized_inductor_cache",
    "to_xfal",
]

# At their first use: downloads need the standard library alone, and models pydantic.
_exports = lazily(
    __name__,
    {
        "FAL_MODEL_WEIGHTS_DIR": "fal_serve.media.places:WEIGHTS",
        "FAL_PERSISTENT_DIR": "fal_serve.media.places:PERSISTENT",
        "FAL_REPOSITORY_DIR": "fal_serve.media.places:REPOSITORIES",
        "Audio": "fal_serve.media.images",
        "AudioField": "fal_serve.media.fields",
        "CompressedFile": "fal_serve.media.files",
        "DownloadError": "fal_serve.media.errors",
        "FalBaseModel": "fal_serve.media.fields",
        "FalTookitException": "fal_serve.media.errors:MediaError",
        "Field": "pydantic",
        "File": "fal_serve.media.files",
        "FileField": "fal_serve.media.fields",
        "FileUploadException": "fal_serve.media.errors",
        "Hidden": "fal_serve.media.fields",
        "Image": "fal_serve.media.images",
        "ImageField": "fal_serve.media.fields",
        "ImageSizeConstraints": "fal_serve.media.constraints",
        "ImageSizeField": "fal_serve.media.fields",
        "ImageSizeInput": "fal_serve.media.images",
        "ImageValidationConfig": "fal_serve.media.constraints",
        "ImageValidationOptions": "fal_serve.media.constraints",
        "KVStore": "fal_serve.media.key_values",
        "KVStoreException": "fal_serve.media.errors",
        "Video": "fal_serve.media.images",
        "VideoField": "fal_serve.media.fields",
        "VideoNormalizationConfig": "fal_serve.media.constraints",
        "VideoValidationConfig": "fal_serve.media.constraints",
        "VideoValidationOptions": "fal_serve.media.constraints",
        "clone_repository": "fal_serve.media.clones",
        "download_file": "fal_serve.media.downloads",
        "download_model_weights": "fal_serve.media.downloads",
        "get_gpu_type": "fal_serve.media.compilation",
        "get_image_size": "fal_serve.media.images",
        "load_inductor_cache": "fal_serve.media.compilation",
        "sync_inductor_cache": "fal_serve.media.compilation",
        "synchronized_inductor_cache": "fal_serve.media.compilation",
        "to_xfal": "fal_serve.media.constraints",
    },
    (
        *("audio", "compilation", "constraints", "exceptions", "file", "image", "kv"),
        *("pydantic", "types", "utils", "video"),
    ),
)

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports
