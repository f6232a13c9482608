"""Exceptions of the toolkit."""

from fal_serve.media.errors import FileUploadException as FileUploadException
from fal_serve.media.errors import FileUploadFallbackException as FileUploadFallbackException
from fal_serve.media.errors import KVStoreException as KVStoreException
from fal_serve.media.errors import MediaError as _MediaError

FalTookitException = _MediaError
