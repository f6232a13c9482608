"""Keys of an account."""

from fal_host_serverless.keys import create_key as create_key
from fal_host_serverless.keys import list_keys as list_keys
from fal_host_serverless.keys import revoke_key as revoke_key
