"""Buckets of Google Cloud Storage."""

from __future__ import annotations

import datetime
import functools
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fal_serve.media.buckets.bucket_repositories import (
    BucketRepository,
    explain_missing,
    read_account,
)
from fal_serve.media.errors import FileUploadException

#: The service account, as JSON, and what it has.
ACCOUNT_VARIABLE = "GCLOUD_SA_JSON"
_KEYS = ("project_id", "client_email", "private_key", "token_uri")


@dataclass
class GoogleStorageRepository(BucketRepository):
    """
    A bucket of Google Cloud Storage. It needs google-cloud-storage.

    Arguments:
        url_expiration: How many minutes a URL is valid. None: it is not signed, and is that
            of a file in a public bucket.

        gcp_account_json: The key of a service account, as the JSON that Google gives. None:
            it is in the variable ``GCLOUD_SA_JSON``.

        folder: The folder of the bucket that files are put into.

    Raises:
        FileUploadException: There is no account, or google-cloud-storage is not installed.
    """

    bucket_name: str = "fal_file_storage"
    url_expiration: int | None = 15 * 60
    gcp_account_json: str | None = field(default=None, repr=False)
    folder: str = ""

    def __post_init__(self) -> None:
        self._client()

    @property
    def storage_client(self) -> Any:
        """The client of google-cloud-storage."""
        return self._client()

    @property
    def bucket(self) -> Any:
        return self._client().bucket(self.bucket_name)

    def send(self, place: str, content: bytes | Path, content_type: str) -> None:
        from google.api_core.exceptions import GoogleAPIError
        from google.auth.exceptions import GoogleAuthError
        from requests.exceptions import RequestException

        blob = self.bucket.blob(place)
        try:
            if isinstance(content, Path):
                blob.upload_from_filename(str(content), content_type=content_type)
            else:
                blob.upload_from_string(content, content_type=content_type)
        except (GoogleAPIError, GoogleAuthError, RequestException) as error:
            raise FileUploadException(
                f"Bucket {self.bucket_name!r} does not take {place!r}: {error}"
            ) from error

    def url_of(self, place: str) -> str:
        blob = self.bucket.blob(place)
        if self.url_expiration is None:
            return str(blob.public_url)
        valid = datetime.timedelta(minutes=self.url_expiration)
        try:
            return str(blob.generate_signed_url(version="v4", expiration=valid, method="GET"))
        except ValueError as error:
            raise FileUploadException(
                f"No URL of {place!r} in bucket {self.bucket_name!r} can be signed: {error}"
            ) from error

    def folder_in_bucket(self) -> str:
        return self.folder

    def _client(self) -> Any:
        account = read_account(
            self.gcp_account_json,
            variable=ACCOUNT_VARIABLE,
            repository="GoogleStorageRepository",
            keys=_KEYS,
        )
        return _open(json.dumps(account))


@functools.lru_cache(maxsize=8)
def _open(account: str) -> Any:
    """Return a client, which threads share."""
    try:
        from google.cloud.storage import Client
    except ImportError as error:
        raise explain_missing("GoogleStorageRepository", "google-cloud-storage") from error
    try:
        return Client.from_service_account_info(json.loads(account))
    except ValueError as error:
        raise FileUploadException(
            f"GoogleStorageRepository: the service account has a value that is wrong: {error}"
        ) from error
