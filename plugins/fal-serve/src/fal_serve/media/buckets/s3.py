"""Buckets of stores that speak S3."""

from __future__ import annotations

import functools
import io
import os
import posixpath
from abc import abstractmethod
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fal_serve.media.buckets.bucket_repositories import BucketRepository, explain_missing
from fal_serve.media.errors import FileUploadException
from fal_serve.media.repositories import FileData

#: What a store is reached with: its address and region, unless boto3's variables say them, a
#: key, and the key's secret.
Account = tuple[str | None, str | None, str, str]


class S3Bucket(BucketRepository):
    """A bucket that boto3 sends files to."""

    url_expiration: int

    def __post_init__(self) -> None:
        # What is missing is told where the bucket is named.
        self.client()

    @abstractmethod
    def account(self) -> Account:
        """
        Return the account that has the bucket.

        Raises:
            FileUploadException: There is none.
        """

    def client(self) -> Any:
        """Return a client of boto3, which threads share."""
        return _open(*self.account())[0]

    def resource(self) -> Any:
        """Return a resource of boto3, which threads do not share."""
        return _open(*self.account())[1]()

    @property
    def bucket(self) -> Any:
        return self.resource().Bucket(self.bucket_name)

    def send(self, place: str, content: bytes | Path, content_type: str) -> None:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        client, facts = self.client(), {"ContentType": content_type}
        try:
            if isinstance(content, Path):
                client.upload_file(str(content), self.bucket_name, place, ExtraArgs=facts)
            else:
                body = io.BytesIO(content)
                client.upload_fileobj(body, self.bucket_name, place, ExtraArgs=facts)
        except (Boto3Error, BotoCoreError, ClientError) as error:
            raise FileUploadException(
                f"Bucket {self.bucket_name!r} does not take {place!r}: {error}"
            ) from error

    def url_of(self, place: str) -> str:
        from botocore.exceptions import BotoCoreError

        object = {"Bucket": self.bucket_name, "Key": place}
        try:
            url: str = self.client().generate_presigned_url(
                "get_object", Params=object, ExpiresIn=self.url_expiration
            )
        except BotoCoreError as error:
            raise FileUploadException(
                f"No URL of {place!r} in bucket {self.bucket_name!r} can be signed: {error}"
            ) from error
        return url


@dataclass
class S3Repository(S3Bucket):
    """
    A bucket of Amazon S3. It needs boto3, whose variables say which region it is in.

    Arguments:
        url_expiration: How many seconds a URL is valid.

        aws_access_key_id: The key. None: it is in the variable ``AWS_ACCESS_KEY_ID``.

        aws_secret_access_key: Its secret. None: it is in ``AWS_SECRET_ACCESS_KEY``.

    Raises:
        FileUploadException: There is no key, or boto3 is not installed.
    """

    bucket_name: str = "fal_file_storage"
    url_expiration: int = 15 * 60
    aws_access_key_id: str | None = None
    aws_secret_access_key: str | None = field(default=None, repr=False)

    @property
    def storage_client(self) -> Any:
        """The client of boto3."""
        return self.client()

    def save(
        self,
        data: FileData,
        multipart: bool | None = None,
        multipart_threshold: int | None = None,
        multipart_chunk_size: int | None = None,
        multipart_max_concurrency: int | None = None,
        object_lifecycle_preference: dict[str, str] | None = None,
        key: str | None = None,
    ) -> str:
        """Keep a file, in the folder *key* of the bucket, and return its URL."""
        place = posixpath.join(key or "", self.new_place(data.file_name))
        self.send(place, data.data, data.content_type)
        return self.url_of(place)

    def account(self) -> Account:
        return (
            None,
            None,
            _find(self.aws_access_key_id, "AWS_ACCESS_KEY_ID"),
            _find(self.aws_secret_access_key, "AWS_SECRET_ACCESS_KEY"),
        )

    def folder_in_bucket(self) -> str:
        return ""


def _find(given: str | None, variable: str) -> str:
    found = given or os.environ.get(variable)
    if not found:
        raise FileUploadException(
            f"S3Repository has no account: variable {variable} is not set. Set it, as with a "
            "secret of that name."
        )
    return found


@functools.lru_cache(maxsize=8)
def _open(address: str | None, region: str | None, key: str, secret: str) -> tuple[Any, Any]:
    """Return a client, and what makes a resource."""
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise explain_missing("The repository", "boto3") from error
    session = boto3.session.Session()
    try:
        # Not all stores have the checksums that newer versions add by themselves.
        config = Config(
            signature_version="s3v4",
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
        )
    except TypeError:
        # An older version, which adds none.
        config = Config(signature_version="s3v4")
    options = {
        "endpoint_url": address,
        "region_name": region,
        "aws_access_key_id": key,
        "aws_secret_access_key": secret,
        "config": config,
    }
    return session.client("s3", **options), functools.partial(session.resource, "s3", **options)
