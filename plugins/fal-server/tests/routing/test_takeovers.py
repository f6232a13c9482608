"""Takeovers: requests and runners while an application is deployed, changed and removed."""

from __future__ import annotations

import pytest
from releases import release_of


@pytest.mark.parametrize("strategy", ["ROLLING", "RECREATE"])
def test_deployment_under_load(holder, settle, strategy):
    """
    A deployment drops no request, whatever its strategy: runners finish the requests that
    they have, and the new release takes those that wait and all later ones.
    """
    name = strategy.lower()
    holder.deploy(name, max_concurrency=2, max_multiplexing=2)
    held = holder.hold(name, f"{name}-word")
    settle(lambda: holder.in_flight(name) == [1])
    with holder.load(name) as answers:
        settle(lambda: len(answers) > 20)
        holder.deploy(name, 2, strategy=strategy)
        settle(lambda: release_of(answers[-1]) == 2)
        holder.deploy(name, 3, strategy=strategy)
        settle(lambda: release_of(answers[-1]) == 3)
    assert {each.status_code for each in answers} == {200}
    # The first release still has its request, and the others were answered.
    settle(lambda: sum(holder.in_flight(name)) == 1)
    assert not held.done()
    holder.write(f"{name}-word")
    assert release_of(held.result()) == 1
    settle(lambda: len({each.revision for each in holder.runners(name)}) == 1)


def test_order_of_strategies(holder, settle):
    """
    During a rolling deployment the old runners take requests until a new one is ready.
    During one that recreates, requests wait.
    """
    holder.deploy("order")
    assert release_of(holder.ask("order")) == 1
    holder.write("starting-2")
    holder.deploy("order", 2)
    settle(lambda: len(holder.runners("order")) == 2)
    assert holder.alias("order").is_rolling
    assert release_of(holder.ask("order")) == 1
    holder.lift("starting-2")
    settle(lambda: release_of(holder.ask("order")) == 2)
    settle(lambda: len(holder.runners("order")) == 1)
    assert not holder.alias("order").is_rolling

    holder.write("starting-3")
    holder.deploy("order", 3, strategy="RECREATE")
    holder.write("order-word")
    held = holder.hold("order", "order-word")
    # The old runner ends first.
    settle(lambda: [each.state for each in holder.runners("order")] == [holder.states.SETUP])
    assert not held.done()
    holder.lift("starting-3")
    assert release_of(held.result()) == 3


@pytest.mark.parametrize("attach", [True, None])
def test_attached_deployment_waits(holder, settle, attach):
    """
    A rolling deployment, which is attached by default, returns once the new release takes
    requests. Until then it streams the log lines of the new runners.
    """
    name = f"attached-{attach}".lower()
    holder.deploy(name, attach=attach)
    assert release_of(holder.ask(name)) == 1
    holder.write("starting-7")
    deployed = holder.later(holder.deploy, name, 7, attach=attach)
    settle(lambda: holder.states.SETUP in {each.state for each in holder.runners(name)})
    assert release_of(holder.ask(name)) == 1
    assert not deployed.done()
    settle(lambda: [line.split()[1:] for line in holder.told] == [["waits"]])
    holder.lift("starting-7")
    assert deployed.result() == holder.alias(name).revision
    assert release_of(holder.ask(name)) == 7


def test_release_that_does_not_come_up(holder, settle):
    """
    A release without a ready runner takes no requests from the previous one, and is dropped
    by the next deployment.
    """
    holder.deploy("broken")
    assert release_of(holder.ask("broken")) == 1
    holder.write("starting-5")
    try:
        holder.deploy("broken", 5)
        settle(lambda: holder.states.SETUP in {each.state for each in holder.runners("broken")})
        (starting,) = [
            each for each in holder.runners("broken") if each.state == holder.states.SETUP
        ]
        holder.kill(starting.runner_id)
        assert release_of(holder.ask("broken")) == 1
        holder.deploy("broken", 6)
        settle(lambda: release_of(holder.ask("broken")) == 6)
        settle(lambda: len(holder.runners("broken")) == 1)
    finally:
        holder.lift("starting-5")
