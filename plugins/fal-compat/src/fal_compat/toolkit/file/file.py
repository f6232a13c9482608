"""Files, and the repositories that keep them."""

from __future__ import annotations

from fal_compat.toolkit.file.providers.local import (
    LocalFileRepository,
)
from fal_serve.media.buckets.google_storage import (
    GoogleStorageRepository,
)
from fal_serve.media.buckets.policy_uploads import (
    get_upload_policy,
    reserve_with_policy,
    save_with_policy,
)
from fal_serve.media.buckets.r2 import (
    R2Repository,
)
from fal_serve.media.downloads import (
    download_file,
)
from fal_serve.media.errors import (
    FileUploadFallbackException,
)
from fal_serve.media.fields import (
    FileField,
)
from fal_serve.media.files import (
    CompressedFile,
    File,
    PendingFile,
)
from fal_serve.media.repositories import (
    DEFAULT_REPOSITORY,
    FALLBACK_REPOSITORY,
    FalFileRepository,
    FileData,
    FileRepository,
    InMemoryRepository,
    RepositoryId,
    Reservation,
)
from fal_serve.media.repositories import (
    FalFileRepository as FalCDNFileRepository,
)
from fal_serve.media.repositories import (
    FalFileRepository as FalFileRepositoryV2,
)
from fal_serve.media.repositories import (
    FalFileRepository as FalFileRepositoryV3,
)
from fal_serve.media.repositories import (
    find_repository as get_builtin_repository,
)
from fal_serve.media.repositories import (
    lifecycle_of as request_lifecycle_preference,
)
from fal_serve.policies.uploads import (
    UploadPolicyInputError,
)

__all__ = [
    "DEFAULT_REPOSITORY",
    "FALLBACK_REPOSITORY",
    "CompressedFile",
    "FalCDNFileRepository",
    "FalFileRepository",
    "FalFileRepositoryV2",
    "FalFileRepositoryV3",
    "File",
    "FileData",
    "FileField",
    "FileRepository",
    "FileUploadFallbackException",
    "GoogleStorageRepository",
    "InMemoryRepository",
    "LocalFileRepository",
    "PendingFile",
    "R2Repository",
    "RepositoryId",
    "Reservation",
    "UploadPolicyInputError",
    "download_file",
    "get_builtin_repository",
    "get_upload_policy",
    "request_lifecycle_preference",
    "reserve_with_policy",
    "save_with_policy",
]
