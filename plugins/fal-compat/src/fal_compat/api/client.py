"""The client of an account."""

from fal_host_serverless.client import AppsNamespace as AppsNamespace
from fal_host_serverless.client import KeysNamespace as KeysNamespace
from fal_host_serverless.client import RunnersNamespace as RunnersNamespace
from fal_host_serverless.client import SecretsNamespace as SecretsNamespace
from fal_host_serverless.client import SyncServerlessClient as SyncServerlessClient
