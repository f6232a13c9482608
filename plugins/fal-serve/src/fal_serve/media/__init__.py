"""Media: files, images and sounds in requests and responses, and what is downloaded for a model."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from fal_serve.media.buckets.google_storage import GoogleStorageRepository
    from fal_serve.media.buckets.r2 import R2Repository
    from fal_serve.media.buckets.s3 import S3Repository
    from fal_serve.media.clones import clone_repository
    from fal_serve.media.downloads import download_file, download_model_weights
    from fal_serve.media.errors import (
        DownloadError,
        FileUploadException,
        KVStoreException,
        MediaError,
        MediaInputError,
    )
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
        ImageSize,
        Video,
        get_image_size,
        read_image_from_url,
    )
    from fal_serve.media.key_values import KVStore
    from fal_serve.media.repositories import FileData, FileRepository

__all__ = [
    "Audio",
    "AudioField",
    "CompressedFile",
    "DownloadError",
    "FalBaseModel",
    "File",
    "FileData",
    "FileField",
    "FileRepository",
    "FileUploadException",
    "GoogleStorageRepository",
    "Hidden",
    "Image",
    "ImageField",
    "ImageSize",
    "ImageSizeField",
    "KVStore",
    "KVStoreException",
    "MediaError",
    "MediaInputError",
    "R2Repository",
    "S3Repository",
    "Video",
    "VideoField",
    "clone_repository",
    "download_file",
    "download_model_weights",
    "get_image_size",
    "read_image_from_url",
]

# What downloads needs the standard library alone, so that plain functions can use it.
_MODULES = {
    "Audio": "images",
    "AudioField": "fields",
    "CompressedFile": "files",
    "DownloadError": "errors",
    "FalBaseModel": "fields",
    "File": "files",
    "FileData": "repositories",
    "FileField": "fields",
    "FileRepository": "repositories",
    "FileUploadException": "errors",
    "GoogleStorageRepository": "buckets.google_storage",
    "Hidden": "fields",
    "Image": "images",
    "ImageField": "fields",
    "ImageSize": "images",
    "ImageSizeField": "fields",
    "KVStore": "key_values",
    "KVStoreException": "errors",
    "MediaError": "errors",
    "MediaInputError": "errors",
    "R2Repository": "buckets.r2",
    "S3Repository": "buckets.s3",
    "Video": "images",
    "VideoField": "fields",
    "clone_repository": "clones",
    "download_file": "downloads",
    "download_model_weights": "downloads",
    "get_image_size": "images",
    "read_image_from_url": "images",
}

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.

    def __getattr__(name: str) -> Any:
        module = _MODULES.get(name)
        if module is None:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(importlib.import_module(f"fal_serve.media.{module}"), name)
