"""Amounts: which of several machines a cluster has room for."""

from __future__ import annotations

from typing import Any

import pytest

from fal_host_ray.cluster.amounts import amounts_of, choose


def asked(**more: Any) -> dict[str, Any]:
    return {"cpus": 1, "gpus": 0, "memory": None, "labels": {}, "custom": {}, **more}


def node(labels: dict[str, str] | None = None, *, alive: bool = True, **has: float) -> Any:
    return {"Alive": alive, "Resources": {"CPU": 4.0, **has}, "Labels": labels}


def test_what_is_not_asked_for_is_no_amount() -> None:
    """Ray is asked for what a worker needs some of, and for nothing else."""
    assert amounts_of(asked(cpus=0)) == {}
    assert amounts_of(asked(memory=5, custom={"TPU": 2})) == {"CPU": 1, "memory": 5, "TPU": 2}


def test_the_first_that_a_node_has_is_chosen() -> None:
    """Of several machines the first is taken for which one node has everything."""
    nodes = [node(GPU=1.0), node({"zone": "a"}), node(GPU=8.0, alive=False)]
    assert choose([asked(gpus=4), asked(gpus=1)], nodes) == (1, "")
    assert choose([asked(gpus=1, labels={"zone": "a"}), asked()], nodes) == (1, "")
    assert choose([asked(labels={"zone": "a"})], nodes) == (0, "")


def test_what_is_missing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """
    The sentence names what is asked for and the most that there is; a cluster that grows has
    room for everything.
    """
    monkeypatch.delenv("FAL_RAY_SCALES", raising=False)
    number, problem = choose([asked(cpus=16, labels={"zone": "b"})], [node(), node(CPU=8.0)])
    assert number == 0
    assert problem == (
        "None of the 2 nodes of the cluster has 16 CPU and the label zone=b; the most that one "
        "has is 8 CPU."
    )
    monkeypatch.setenv("FAL_RAY_SCALES", "1")
    assert choose([asked(cpus=16)], [node()]) == (0, "")
