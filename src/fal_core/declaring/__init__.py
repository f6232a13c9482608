"""Declaring: options sorted by owner and made typed, policies, and hosts by name."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fal_core.exports import lazily

if TYPE_CHECKING:
    from fal_core.declaring.health_checks import HealthCheckConfig
    from fal_core.declaring.machine_types import check_machine_types
    from fal_core.declaring.named_hosts import default_host, to_host
    from fal_core.declaring.requirement_files import (
        check_requirement_file,
        inline_metadata,
        with_script,
    )
    from fal_core.declaring.vocabulary import (
        parse_options,
        structure_environment,
        structure_gateway,
        structure_host_options,
        unstructure_environment,
    )

__all__ = [
    "HealthCheckConfig",
    "check_machine_types",
    "check_requirement_file",
    "default_host",
    "inline_metadata",
    "parse_options",
    "structure_environment",
    "structure_gateway",
    "structure_host_options",
    "to_host",
    "unstructure_environment",
    "with_script",
]

_exports = lazily(
    __name__,
    {
        "HealthCheckConfig": "fal_core.declaring.health_checks",
        "check_machine_types": "fal_core.declaring.machine_types",
        "check_requirement_file": "fal_core.declaring.requirement_files",
        "default_host": "fal_core.declaring.named_hosts",
        "inline_metadata": "fal_core.declaring.requirement_files",
        "parse_options": "fal_core.declaring.vocabulary",
        "structure_environment": "fal_core.declaring.vocabulary",
        "structure_gateway": "fal_core.declaring.vocabulary",
        "structure_host_options": "fal_core.declaring.vocabulary",
        "to_host": "fal_core.declaring.named_hosts",
        "unstructure_environment": "fal_core.declaring.vocabulary",
        "with_script": "fal_core.declaring.requirement_files",
    },
)

if not TYPE_CHECKING:
    # For type checkers, a name that is not there is an error.
    __getattr__, __dir__ = _exports
