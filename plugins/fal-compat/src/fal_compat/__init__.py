"""Code written for the fal SDK, run by fal-core: ``import fal_compat as fal``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_compat.absent import install
from fal_compat.exports import lazily

if TYPE_CHECKING:
    from fal_compat import api as api
    from fal_compat import app as app
    from fal_compat import apps as apps
    from fal_compat import container as container
    from fal_compat import distributed as distributed
    from fal_compat import exceptions as exceptions
    from fal_compat import files as files
    from fal_compat import ref as ref
    from fal_compat import sdk as sdk
    from fal_compat import sync as sync
    from fal_compat import toolkit as toolkit
    from fal_compat.app import App, endpoint, realtime
    from fal_compat.app import wrap_app as wrap_app
    from fal_compat.billing import BillingComponents, BillingDeclaration
    from fal_compat.container import ContainerImage
    from fal_compat.functions import function
    from fal_compat.functions import function as isolated
    from fal_compat.hosts import cloud as cloud
    from fal_compat.hosts import local as local
    from fal_compat.hosts import serverless as serverless
    from fal_compat.key_credentials import FalServerlessKeyCredentials
    from fal_compat.sync import sync_dir
    from fal_compat.versions import __version__, version_tuple
    from fal_core import cached
    from fal_host_local import LocalHost as LocalHost
    from fal_host_serverless import FalServerlessHost as FalServerlessHost
    from fal_serve import HealthCheck

__all__ = [
    "App",
    "BillingComponents",
    "BillingDeclaration",
    "ContainerImage",
    "FalServerlessKeyCredentials",
    "HealthCheck",
    "__version__",
    "cached",
    "endpoint",
    "function",
    "isolated",
    "realtime",
    "sync_dir",
    "version_tuple",
]

install()

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, _ = lazily(
        __name__,
        {
            "fal_compat.app": "App endpoint realtime wrap_app",
            "fal_compat.billing": "BillingComponents BillingDeclaration",
            "fal_compat.container": "ContainerImage",
            "fal_compat.functions": "function isolated=function",
            "fal_compat.hosts": "cloud local serverless",
            "fal_compat.key_credentials": "FalServerlessKeyCredentials",
            "fal_compat.sync": "sync_dir",
            "fal_compat.versions": "__version__ version_tuple",
            "fal_core": "cached",
            "fal_host_local": "LocalHost",
            "fal_host_serverless": "FalServerlessHost",
            "fal_serve": "HealthCheck",
        },
        (
            *("api", "app", "apps", "container", "distributed", "exceptions", "files"),
            *("ref", "sdk", "sync", "toolkit"),
        ),
    )
