"""Applications of an account."""

from fal_host_serverless.apps import apps_runners as apps_runners
from fal_host_serverless.apps import list_apps as list_apps
from fal_host_serverless.apps import rollout_app as rollout_app
from fal_host_serverless.apps import scale_app as scale_app
