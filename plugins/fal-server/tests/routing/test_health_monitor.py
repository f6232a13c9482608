"""Health checks: runners that fail them are replaced."""

from __future__ import annotations

from isolate_proto import RegisterApplicationRequest


def check(**settings):
    """Return the configuration of a health check."""
    config = RegisterApplicationRequest().health_check_config
    config.path = "/health"
    for name, value in settings.items():
        setattr(config, name, value)
    return config


def test_sick_runner(holder, settle):
    """
    A runner that fails its checks is replaced, and a healthy one of the same application is
    kept. A busy runner is not checked unless its configuration allows that.
    """
    holder.deploy(
        "sick",
        health=check(failure_threshold=1, call_regularly=True),
        min_concurrency=2,
        max_concurrency=2,
    )
    holder.deploy(
        "busy",
        health=check(failure_threshold=1, call_regularly=True, allow_on_busy=True),
        max_concurrency=1,
    )
    holder.deploy("left", health=check(failure_threshold=1, call_regularly=False))
    held = {name: holder.hold(name, "word") for name in ("sick", "busy", "left")}
    settle(lambda: holder.in_flight("sick") == [0, 1] and holder.in_flight("busy") == [1])
    settle(lambda: holder.in_flight("left") == [1])
    settle(lambda: len(holder.ready("sick")) == 2)
    before = {each.runner_id: each.in_flight_requests for each in holder.ready("sick")}
    (left,) = holder.runners("left")
    idle = holder.ask("sick").json()["pid"]
    holder.write("sick")
    try:
        # A busy runner that is checked, and replaced, does not finish its request.
        assert held["busy"].result().status_code == 503
        settle(lambda: len({each.runner_id for each in holder.runners("sick")} - {*before}))
    finally:
        holder.lift("sick")
    settle(lambda: len(holder.ready("sick")) == 2)
    settle(lambda: holder.ask("sick").json()["pid"] != idle)

    def kept() -> set[str]:
        return {each.runner_id for each in holder.runners("sick")} & {*before}

    settle(lambda: [before[each] for each in kept()] == [1])
    assert [each.runner_id for each in holder.runners("left")] == [left.runner_id]
    holder.write("word")
    assert [held[name].result().status_code for name in ("sick", "left")] == [200, 200]
    assert holder.ask("busy").status_code == 200


def test_check_that_takes_long(holder, settle):
    """A runner that does not respond to its check does not delay the checks of others."""
    checked = check(failure_threshold=1, call_regularly=True, timeout_seconds=600)
    holder.deploy("mute", health=checked)
    holder.deploy("other", health=checked)
    mute, other = (holder.ask(name).json()["pid"] for name in ("mute", "other"))
    holder.write(f"mute-{mute}")
    settle(lambda: holder.has(f"asked-{mute}"))
    holder.write(f"sick-{other}")
    # A runner that gets a request during its check does not finish it.
    settle(lambda: holder.ask("other").json().get("pid", other) != other)
    assert holder.ask("mute").json()["pid"] == mute
    holder.lift(f"mute-{mute}")


def test_runner_that_is_not_healthy_yet(holder, settle):
    """A runner gets no request before it is healthy."""
    holder.write("sick")
    holder.deploy("later", health=check())
    held = holder.hold("later", "later-word")
    settle(lambda: holder.runners("later"))
    holder.write("later-word")
    (runner,) = holder.runners("later")
    assert not held.done()
    assert holder.ready("later") == []
    holder.lift("sick")
    assert held.result().status_code == 200
    assert [each.runner_id for each in holder.runners("later")] == [runner.runner_id]
