"""Secrets of an account."""

from fal_host_serverless.secrets import list_secrets as list_secrets
from fal_host_serverless.secrets import set_secret as set_secret
from fal_host_serverless.secrets import unset_secret as unset_secret
