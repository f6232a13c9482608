"""The key-value store."""

from fal_serve.media.errors import KVStoreException as KVStoreException
from fal_serve.media.key_values import KVStore as KVStore
