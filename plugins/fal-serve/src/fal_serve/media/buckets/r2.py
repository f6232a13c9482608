"""Buckets of Cloudflare R2, or of another store that speaks S3."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from fal_serve.media.buckets.bucket_repositories import read_account
from fal_serve.media.buckets.s3 import Account, S3Bucket

#: The account, as JSON, and what it has.
ACCOUNT_VARIABLE = "R2_CREDS_JSON"
_KEYS = ("ACCOUNT_ID", "ACCESS_KEY_ID", "SECRET_ACCESS_KEY")

#: Where the store is, unless it is the account's of R2.
_ADDRESS, _REGION = "ENDPOINT_URL", "REGION"


@dataclass
class R2Repository(S3Bucket):
    """
    A bucket of Cloudflare R2. It needs boto3.

    Arguments:
        url_expiration: How many seconds a URL is valid.

        r2_account_json: A JSON object with ``ACCOUNT_ID``, ``ACCESS_KEY_ID`` and
            ``SECRET_ACCESS_KEY``, and ``ENDPOINT_URL`` and ``REGION`` for a store elsewhere.
            None: it is in the variable ``R2_CREDS_JSON``.

        key: The folder of the bucket that files are put into.

    Raises:
        FileUploadException: There is no account, or boto3 is not installed.
    """

    bucket_name: str = "fal_file_storage"
    url_expiration: int = 15 * 60
    r2_account_json: str | None = field(default=None, repr=False)
    key: str = ""

    @property
    def storage_client(self) -> Any:
        """The store, as a resource of boto3."""
        return self.resource()

    def account(self) -> Account:
        account = read_account(
            self.r2_account_json,
            variable=ACCOUNT_VARIABLE,
            repository="R2Repository",
            keys=_KEYS,
        )
        hosted = f"https://{account['ACCOUNT_ID']}.r2.cloudflarestorage.com"
        address = account.get(_ADDRESS) or hosted
        # R2 has this region alone, and most others do not mind.
        region = account.get(_REGION) or "auto"
        return address, region, account["ACCESS_KEY_ID"], account["SECRET_ACCESS_KEY"]

    def folder_in_bucket(self) -> str:
        return self.key
