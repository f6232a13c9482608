"""Media: files, images and sounds in requests and responses, and what is downloaded for a model."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fal_serve.media.buckets.google_storage import (
        GoogleStorageRepository as GoogleStorageRepository,
    )
    from fal_serve.media.buckets.r2 import R2Repository as R2Repository
    from fal_serve.media.buckets.s3 import S3Repository as S3Repository
    from fal_serve.media.clones import clone_repository as clone_repository
    from fal_serve.media.downloads import download_file as download_file
    from fal_serve.media.downloads import download_model_weights as download_model_weights
    from fal_serve.media.errors import DownloadError as DownloadError
    from fal_serve.media.errors import FileUploadException as FileUploadException
    from fal_serve.media.errors import KVStoreException as KVStoreException
    from fal_serve.media.errors import MediaError as MediaError
    from fal_serve.media.errors import MediaInputError as MediaInputError
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
    from fal_serve.media.images import ImageSize as ImageSize
    from fal_serve.media.images import Video as Video
    from fal_serve.media.images import get_image_size as get_image_size
    from fal_serve.media.images import read_image_from_url as read_image_from_url
    from fal_serve.media.key_values import KVStore as KVStore
    from fal_serve.media.repositories import FileData as FileData
    from fal_serve.media.repositories import FileRepository as FileRepository
else:
    # What downloads needs the standard library alone, so that plain functions can use it.
    # For type checkers, a name that is not there is an error.
    _TABLE = {
        "buckets.google_storage": "GoogleStorageRepository",
        "buckets.r2": "R2Repository",
        "buckets.s3": "S3Repository",
        "clones": "clone_repository",
        "downloads": "download_file download_model_weights",
        "errors": (
            "DownloadError FileUploadException KVStoreException MediaError MediaInputError"
        ),
        "fields": (
            "AudioField FalBaseModel FileField Hidden ImageField ImageSizeField VideoField"
        ),
        "files": "CompressedFile File",
        "images": "Audio Image ImageSize Video get_image_size read_image_from_url",
        "key_values": "KVStore",
        "repositories": "FileData FileRepository",
    }
    _MODULES = {name: module for module, names in _TABLE.items() for name in names.split()}
    __all__ = sorted(_MODULES)

    def __getattr__(name: str) -> Any:
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"fal_serve.media.{module}"), name)
