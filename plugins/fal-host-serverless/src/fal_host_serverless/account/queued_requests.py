"""Requests for the queues of applications, which accept them now and answer them later."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import attrs

from fal_core.errors import OptionError
from fal_host_serverless.account.addresses import find_stage
from fal_host_serverless.account.told_facts import (
    find_nickname,
    forget_nickname,
    has_ability,
)
from fal_host_serverless.errors import ResourceNotFound
from fal_host_serverless.values import SubmittedRequest
from fal_host_serverless.wire import settings
from fal_host_serverless.wire.requests import full_name
from fal_host_serverless.wire.rest import RestClient
from fal_host_serverless.wire.services import Service

#: The ability by which a service accepts each request with a key once.
IDEMPOTENCY_KEYS = "idempotency-keys"

#: How often a request with a key is sent before a failure counts.
_TRIES = 3


@attrs.frozen
class Submission:
    """
    A request for the queue of an application.

    Arguments:
        app_name: The name of the application, or ``owner/name`` for that of another owner.

        arguments: What is sent as JSON.

        path: The path within the application, with a query if there is one.

        key: An idempotency key: however often requests with it are sent, one is accepted.
            The request is then sent again if the connection breaks.

        environment_name: The stage of the application.
    """

    app_name: str
    arguments: Any = None
    path: str = attrs.field(default="/", kw_only=True)
    key: str | None = attrs.field(default=None, kw_only=True)
    environment_name: str | None = attrs.field(default=None, kw_only=True)

    def send(self, service: Service) -> SubmittedRequest:
        """
        Put the request into the queue.

        Raises:
            OptionError: It has a key, and *service* takes none.

            FalServerlessError: *service* cannot be reached, or answered with an error.
        """
        rest = service.shared_rest()
        if self.key is not None and not has_ability(rest, IDEMPOTENCY_KEYS):
            raise OptionError(
                f"The service at {service.address} takes no idempotency keys, so 'key' would "
                "not keep a request from being accepted twice. Submit without 'key', or to a "
                "server of fal-core."
            )
        application = find_application(rest, self.app_name, self.environment_name)
        try:
            response = rest.send(
                "POST",
                f"{settings.queue_url(service.address)}/{application}/{self.path.lstrip('/')}",
                tries=1 if self.key is None else _TRIES,
                headers={} if self.key is None else {"Idempotency-Key": self.key},
                json={} if self.arguments is None else self.arguments,
            )
        except ResourceNotFound:
            forget_nickname(rest)
            raise
        told: Mapping[str, Any] = response.json()
        return SubmittedRequest(
            request_id=told["request_id"],
            response_url=told["response_url"],
            status_url=told["status_url"],
            cancel_url=told["cancel_url"],
            is_replayed=response.headers.get("Idempotent-Replayed") == "true",
        )


def find_application(rest: RestClient, app_name: str, environment_name: str | None) -> str:
    """
    Return the path of an application, as in ``owner/name``, quoted for a URL.

    Arguments:
        app_name: Its name, of the account that *rest* acts for if it names no owner.

    Raises:
        FalServerlessError: The service cannot be reached, or answered with an error.
    """
    owner, separator, name = app_name.rpartition("/")
    if not separator:
        owner = find_nickname(rest)
    name = full_name(name, find_stage(environment_name))
    return f"{quote(owner, safe='')}/{quote(name, safe='')}"
