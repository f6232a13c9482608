"""
Retrying: which queued requests are given to a runner once more, and how often.

What clients call a condition is why an attempt failed:

``server_error``
    The runner has answered 503 or 504, has ended, or broke off its answer.

``timeout``
    It took longer than the application gives a request.

``connection_error``
    The connection broke, while the runner goes on.
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

#: How often one request is given to a runner, whatever is asked for.
MOST = 10

#: The header of an answer that says whether the request is to be tried again, and of
#: one that says whether its runner is to end.
NEEDS_RETRY, STOP_RUNNER = "x-fal-needs-retry", "x-fal-stop-runner"

#: The headers of a sender who wants one attempt alone, or says how many there may be.
NO_RETRY, RETRY_CONFIG = "x-fal-no-retry", "x-fal-retry-config"

#: Answers that tell of a runner at fault.
_FAULTS = frozenset({503, 504})

_YES, _NO = frozenset({"1", "true", "yes"}), frozenset({"0", "false", "no"})


@attrs.frozen(kw_only=True)
class Retries:
    """
    How often the requests of an application are tried again.

    Attributes:
        skipped: The conditions in which they are not.

        budgets: How many further attempts there may be for a condition. One that is not
            named has no bound but :data:`MOST`.
    """

    skipped: frozenset[Condition] = frozenset()
    budgets: Mapping[Condition, int] = attrs.field(factory=dict)

    def may_retry(self, condition: Condition, failed: int) -> bool:
        """
        Tell whether there is another attempt after *failed* ones for *condition*.
        """
        budget = self.budgets.get(condition)
        if budget is None:
            return condition not in self.skipped
        return failed <= budget

    def overridden(self, text: str) -> Retries:
        """
        Return what a sender asks for instead; what makes no sense is passed over.
        """
        try:
            budgets = read_budgets(text)
        except Invalid:
            return self
        return attrs.evolve(self, budgets={**self.budgets, **budgets})


def read_retries(request: RegisterApplicationRequest) -> Retries:
    """
    Return what a registration says.

    Raises:
        Invalid: It makes no sense.
    """
    names = {wire.RetryCondition.Name(each).lower() for each in request.skip_retry_conditions}
    skipped = frozenset(each for each in CONDITIONS if each in names)
    budgets = read_budgets(request.retry_config) if request.retry_config else {}
    return Retries(skipped=skipped, budgets=budgets)


def read_budgets(text: str) -> Mapping[Condition, int]:
    """
    Return the further attempts by condition that *text* says, as in
    ``{"timeout": {"retries": 1}}``.

    Raises:
        Invalid: It says something else.
    """
    wrong = Invalid(
        'A retry config is as in {"timeout": {"retries": 1}}, with the conditions '
        f"{', '.join(CONDITIONS)}."
    )
    try:
        found: Any = json.loads(text)
    except ValueError:
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
    Return why an answer is no good, or whether it asks to be tried again; False where it
    is to be passed on.

    Arguments:
        headers: Those of the answer, by names in any case.
    """
    asked = headers.get(NEEDS_RETRY, "").lower()
    if asked in _YES and (status >= 500 or status == 429):
        return True
    if asked in _NO or status not in _FAULTS:
        return False
    return "server_error"


def ends_runner(status: int, headers: Mapping[str, str]) -> bool:
    """
    Tell whether a runner is to end after an answer: it has said so, or that it is broken.
    """
    asked = headers.get(STOP_RUNNER, "").lower()
    return asked in _YES or (status == 503 and asked not in _NO)


def is_set(value: str) -> bool:
    """
    Tell whether a header says yes.
    """
    return value.lower() in _YES
