"""Stages, which fal calls environments."""

from fal_host_serverless.environments import create_environment as create_environment
from fal_host_serverless.environments import delete_environment as delete_environment
from fal_host_serverless.environments import list_environments as list_environments
