"""
Amounts: what a worker asks of the nodes of a cluster, and whether one has it.

This runs in a Python that has Ray, beside the launcher, and imports the standard library alone.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from typing import Any


def amounts_of(resources: Mapping[str, Any]) -> dict[str, float]:
    """Return how much is asked for, by Ray's names."""
    amounts = {
        "CPU": resources["cpus"],
        "GPU": resources["gpus"],
        "memory": resources["memory"] or 0,
        **resources["custom"],
    }
    return {name: amount for name, amount in amounts.items() if amount}


def choose(
    choices: Sequence[Mapping[str, Any]], nodes: Sequence[Mapping[str, Any]]
) -> tuple[int, str]:
    """
    Return which of *choices* is the first that a node of the cluster has room for, be it now
    or later; why there is none, as a sentence, if none has.

    Arguments:
        nodes: As ``ray.nodes`` returns them.
    """
    alive = [node for node in nodes if node["Alive"]]
    problems = [_problem_of(resources, alive) for resources in choices]
    for number, problem in enumerate(problems):
        # A cluster that grows may have such a node later.
        if not problem or os.environ.get("FAL_RAY_SCALES") == "1":
            return number, ""
    return 0, " ".join(problems)


def _problem_of(resources: Mapping[str, Any], nodes: Sequence[Mapping[str, Any]]) -> str:
    """Return why none of *nodes* can ever have *resources*, as a sentence; empty if one can."""
    wanted = amounts_of(resources)
    labels = resources["labels"]
    for node in nodes:
        has, own = node["Resources"], node.get("Labels") or {}
        enough = all(has.get(name, 0) >= amount for name, amount in wanted.items())
        if enough and all(own.get(name) == value for name, value in labels.items()):
            return ""
    parts = [f"{amount:g} {name}" for name, amount in wanted.items()]
    parts += [f"the label {name}={value}" for name, value in labels.items()]
    most = {
        name: max((node["Resources"].get(name, 0) for node in nodes), default=0)
        for name in wanted
    }
    has = ", ".join(f"{amount:g} {name}" for name, amount in most.items()) or "nothing of it"
    return (
        f"None of the {len(nodes)} nodes of the cluster has {' and '.join(parts)}; the most "
        f"that one has is {has}."
    )
