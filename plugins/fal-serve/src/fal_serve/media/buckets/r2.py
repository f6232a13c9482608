"""
Buckets of Cloudflare R2, or of another store that speaks S3.
"""

from __future__ import annotations

import functools
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fal_serve.media.buckets.bucket_repositories import (
    BucketRepository,
    explain_missing,
    read_account,
)
from fal_serve.media.errors import FileUploadException

#: The account, as JSON, and what it has.
ACCOUNT_VARIABLE = "R2_CREDS_JSON"
_KEYS = ("ACCOUNT_ID", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")

#: Where the store is, unless it is the account's of R2.
_ADDRESS = "ENDPOINT_URL"


@dataclass
class R2Repository(BucketRepository):
    """
    A bucket of Cloudflare R2. It needs boto3.

    Arguments:
        url_expiration: How many seconds a URL is valid.

        r2_account_json: A JSON object with ``ACCOUNT_ID``, ``ACCESS_KEY_ID`` and
            ``SECRET_ACCESS_KEY``, and ``ENDPOINT_URL`` for a store elsewhere. None: it is in
            the variable ``R2_CREDS_JSON``.

        key: The folder of the bucket that files are put into.

    Raises:
        FileUploadException: There is no account, or boto3 is not installed.
    """

    bucket_name: str = "fal_file_storage"
    url_expiration: int = 15 * 60
    r2_account_json: str | None = field(default=None, repr=False)
    key: str = ""

    def __post_init__(self) -> None:
        self._client()

    @property
    def storage_client(self) -> Any:
        """
        The store, as a resource of boto3.
        """
        return _open(*self._account())[1]()

    @property
    def bucket(self) -> Any:
        return self.storage_client.Bucket(self.bucket_name)

    def send(self, place: str, content: bytes | Path, content_type: str) -> None:
        from boto3.exceptions import Boto3Error
        from botocore.exceptions import BotoCoreError, ClientError

        facts = {"ContentType": content_type}
        try:
            if isinstance(content, Path):
                client = self._client()
                client.upload_file(str(content), self.bucket_name, place, ExtraArgs=facts)
            else:
                body = io.BytesIO(content)
                client = self._client()
                client.upload_fileobj(body, self.bucket_name, place, ExtraArgs=facts)
        except (Boto3Error, BotoCoreError, ClientError) as error:
            raise FileUploadException(
                f"Bucket {self.bucket_name!r} does not take {place!r}: {error}"
            ) from error

    def url_of(self, place: str) -> str:
        from botocore.exceptions import BotoCoreError

        object = {"Bucket": self.bucket_name, "Key": place}
        try:
            url: str = self._client().generate_presigned_url(
                "get_object", Params=object, ExpiresIn=self.url_expiration
            )
        except BotoCoreError as error:
            raise FileUploadException(
                f"No URL of {place!r} in bucket {self.bucket_name!r} can be signed: {error}"
            ) from error
        return url

    def folder_in_bucket(self) -> str:
        return self.key

    def _client(self) -> Any:
        return _open(*self._account())[0]

    def _account(self) -> tuple[str, str, str]:
        account = read_account(
            self.r2_account_json,
            variable=ACCOUNT_VARIABLE,
            repository="R2Repository",
            keys=_KEYS,
        )
        hosted = f"https://{account['ACCOUNT_ID']}.r2.cloudflarestorage.com"
        address = account.get(_ADDRESS) or hosted
        return address, account["ACCESS_KEY_ID"], account["SECRET_ACCESS_KEY"]


@functools.lru_cache(maxsize=8)
def _open(address: str, key: str, secret: str) -> tuple[Any, Any]:
    """
    Return a client, which threads share, and what makes a resource, which they do not.
    """
    try:
        import boto3
        from botocore.config import Config
    except ImportError as error:
        raise explain_missing("R2Repository", "boto3") from error
    session = boto3.session.Session()
    try:
        # R2 has not all checksums that newer versions add by themselves.
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
        "aws_access_key_id": key,
        "aws_secret_access_key": secret,
        # Of R2, which has one; others do not mind.
        "region_name": "auto",
        "config": config,
    }
    return session.client("s3", **options), functools.partial(session.resource, "s3", **options)
