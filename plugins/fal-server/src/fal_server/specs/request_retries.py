"""
Retries: which queued requests are given to a runner again, and how often.

Clients call the reason why an attempt failed a condition:

``server_error``
    The runner responded with 503 or 504, or ended before it had responded.

``timeout``
    The request took longer than the application allows.

``connection_error``
    The connection broke, and the runner goes on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal, get_args

import attrs
from isolate_proto import RegisterApplicationRequest
from isolate_proto import controller_pb2 as wire

from fal_server.errors import Invalid

Condition = Literal["server_error", "timeout", "connection_error"]

CONDITIONS: tuple[Condition, ...] = get_args(Condition)

#: The most attempts of one request, regardless of how many are asked for.
MOST = 10

#: The response headers that say whether to retry the request, and whether to end the
#: runner.
NEEDS_RETRY, STOP_RUNNER = "x-fal-needs-retry", "x-fal-stop-runner"

#: The request headers that ask for a single attempt, or for numbers of retries.
NO_RETRY, RETRY_CONFIG = "x-fal-no-retry", "x-fal-retry-config"

#: Statuses of responses for which the runner is at fault.
_FAULTS = frozenset({503, 504})

_YES, _NO = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})


@attrs.frozen(kw_only=True)
class RequestRetries:
    """
    How often the requests of an application are retried.

    Attributes:
        skipped: The conditions in which they are not retried.

        budgets: The number of retries by condition. A condition without one is limited by
            :data:`MOST` alone.
    """

    skipped: frozenset[Condition] = frozenset()
    budgets: Mapping[Condition, int] = attrs.field(factory=dict)

    def may_retry(self, condition: Condition, failed: int) -> bool:
        """Return whether to retry after *failed* attempts that failed for *condition*."""
        budget = self.budgets.get(condition)
        if budget is None:
            return condition not in self.skipped
        return failed <= budget

    def overridden(self, text: str) -> RequestRetries:
        """
        Return these retries with the budgets that a sender asks for. An earlier server may
        have accepted a header that is not valid, which is ignored.
        """
        try:
            budgets = read_budgets(text)
        except Invalid:
            return self
        return attrs.evolve(self, budgets={**self.budgets, **budgets})


def read_retries(request: RegisterApplicationRequest) -> RequestRetries:
    """
    Return the retries that a registration asks for.

    Raises:
        Invalid: They are not valid.
    """
    names = {wire.RetryCondition.Name(each).lower() for each in request.skip_retry_conditions}
    skipped = frozenset(each for each in CONDITIONS if each in names)
    budgets = read_budgets(request.retry_config) if request.retry_config else {}
    return RequestRetries(skipped=skipped, budgets=budgets)


def read_budgets(text: str) -> Mapping[Condition, int]:
    """
    Parse numbers of retries by condition, as in ``{"timeout": {"retries": 1}}``.

    Raises:
        Invalid: They are not valid.
    """
    wrong = Invalid(
        'A retry config looks like {"timeout": {"retries": 1}}, with the conditions '
        f"{', '.join(CONDITIONS)}."
    )
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        raise wrong from None
    if not isinstance(found, dict):
        raise wrong
    budgets: dict[Condition, int] = {}
    for name, entry in found.items():
        retries = entry.get("retries") if isinstance(entry, dict) else None
        if name not in CONDITIONS or type(retries) is not int:
            raise wrong
        budgets[name] = max(0, retries)
    return budgets


def judge(status: int, headers: Mapping[str, str]) -> Condition | bool:
    """
    Judge a response: return the condition in which the attempt failed, True if the
    response asks for a retry, or False if it is for the sender.

    Arguments:
        headers: The headers of the response, with case-insensitive names.
    """
    asked = headers.get(NEEDS_RETRY, "").lower()
    if asked in _YES and (status >= 500 or status == 429):
        return True
    if asked in _NO or status not in _FAULTS:
        return False
    return "server_error"


def ends_runner(status: int, headers: Mapping[str, str]) -> bool:
    """Return whether to end a runner after a response that asks for it, or has status 503."""
    asked = headers.get(STOP_RUNNER, "").lower()
    return asked in _YES or (status == 503 and asked not in _NO)


def is_set(value: str) -> bool:
    """Return whether the value of a header means yes."""
    return value.lower() in _YES
