"""Files, and the repositories that keep them."""

from fal_compat.toolkit.file.providers.local import LocalFileRepository as LocalFileRepository
from fal_serve.media.buckets.google_storage import (
    GoogleStorageRepository as GoogleStorageRepository,
)
from fal_serve.media.buckets.policy_uploads import get_upload_policy as get_upload_policy
from fal_serve.media.buckets.policy_uploads import reserve_with_policy as reserve_with_policy
from fal_serve.media.buckets.policy_uploads import save_with_policy as save_with_policy
from fal_serve.media.buckets.r2 import R2Repository as R2Repository
from fal_serve.media.downloads import download_file as download_file
from fal_serve.media.errors import FileUploadFallbackException as FileUploadFallbackException
from fal_serve.media.fields import FileField as FileField
from fal_serve.media.files import CompressedFile as CompressedFile
from fal_serve.media.files import File as File
from fal_serve.media.files import PendingFile as PendingFile
from fal_serve.media.repositories import DEFAULT_REPOSITORY as DEFAULT_REPOSITORY
from fal_serve.media.repositories import FALLBACK_REPOSITORY as FALLBACK_REPOSITORY
from fal_serve.media.repositories import FalFileRepository as FalFileRepository
from fal_serve.media.repositories import FileData as FileData
from fal_serve.media.repositories import FileRepository as FileRepository
from fal_serve.media.repositories import InMemoryRepository as InMemoryRepository
from fal_serve.media.repositories import RepositoryId as RepositoryId
from fal_serve.media.repositories import Reservation as Reservation
from fal_serve.media.repositories import find_repository as _find_repository
from fal_serve.media.repositories import lifecycle_of as _lifecycle_of
from fal_serve.policies.uploads import UploadPolicyInputError as UploadPolicyInputError

FalCDNFileRepository = FalFileRepository
FalFileRepositoryV2 = FalFileRepository
FalFileRepositoryV3 = FalFileRepository
get_builtin_repository = _find_repository
request_lifecycle_preference = _lifecycle_of
