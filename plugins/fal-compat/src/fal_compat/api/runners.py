"""Runners of an account."""

from fal_host_serverless.runners import kill_runner as kill_runner
from fal_host_serverless.runners import list_runners as list_runners
from fal_host_serverless.runners import stop_runner as stop_runner
