"""Declaring: options sorted by owner and made typed, policies, and hosts by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.declaring.health_checks import HealthCheckConfig as HealthCheckConfig
    from fal_core.declaring.machine_types import check_machine_types as check_machine_types
    from fal_core.declaring.named_hosts import default_host as default_host
    from fal_core.declaring.named_hosts import to_host as to_host
    from fal_core.declaring.requirement_files import (
        check_requirement_file as check_requirement_file,
    )
    from fal_core.declaring.requirement_files import inline_metadata as inline_metadata
    from fal_core.declaring.requirement_files import with_script as with_script
    from fal_core.declaring.vocabulary import parse_options as parse_options
    from fal_core.declaring.vocabulary import structure_environment as structure_environment
    from fal_core.declaring.vocabulary import structure_gateway as structure_gateway
    from fal_core.declaring.vocabulary import structure_host_options as structure_host_options
    from fal_core.declaring.vocabulary import unstructure_environment as unstructure_environment
else:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__, __all__ = lazily(
        __name__,
        {
            "fal_core.declaring.health_checks": "HealthCheckConfig",
            "fal_core.declaring.machine_types": "check_machine_types",
            "fal_core.declaring.named_hosts": "default_host to_host",
            "fal_core.declaring.requirement_files": (
                "check_requirement_file inline_metadata with_script"
            ),
            "fal_core.declaring.vocabulary": (
                "parse_options structure_environment structure_gateway structure_host_options "
                "unstructure_environment"
            ),
        },
    )
