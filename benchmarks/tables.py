"""Results as a table: fal-core, a peer, the ratio, the goal, and whether it is met."""

from __future__ import annotations

from collections.abc import Iterable

from benchmarks.figures import FAL_CORE, TIMES, Goal, Result, show

_ROW = "  {own:>15}  {peer:<34} {value:>15}  {ratio:>8}  {goal:<14} {met}"


def render(result: Result) -> str:
    """Return the table of one figure."""
    figure = result.figure
    own = result.value(FAL_CORE)
    lines = ["", f"{figure.name}: {figure.title}"]
    if figure.note:
        lines.append(f"  {figure.note}")
    lines.append(
        _ROW.format(
            own=FAL_CORE, peer="peer", value="it shows", ratio="ratio", goal="goal", met=""
        ).rstrip()
    )
    if own is None:
        lines.append(f"  {FAL_CORE} took no part: {result.missing.get(FAL_CORE, 'no samples')}")
    goals = {goal: result.peer(goal) for goal in figure.goals}
    for goal, peer in goals.items():
        if peer is None and own is not None:
            lines.append(_row(result, own, None, goal))
    for contestant in figure.contestants:
        name = contestant.name
        if name == FAL_CORE:
            continue
        if result.value(name) is None:
            reason = result.missing.get(name, "no samples")
            lines.append(f"  {name} took no part: {reason}")
            continue
        its = [goal for goal, peer in goals.items() if peer == name]
        lines += [_row(result, own, name, goal) for goal in its or (None,)]
    return "\n".join(lines)


def summary(results: Iterable[Result]) -> str:
    """Return how many goals were met, and which were missed."""
    met, missed, open_ = 0, [], []
    for result in results:
        for goal in result.as_json()["goals"]:
            if goal["met"] is None:
                open_.append(result.figure.name)
            elif goal["met"]:
                met += 1
            else:
                missed.append(result.figure.name)
    parts = [f"{met} goals met"]
    parts += [f"{len(missed)} missed: {', '.join(missed)}"] if missed else []
    parts += [f"{len(open_)} not measured: {', '.join(open_)}"] if open_ else []
    return "; ".join(parts) + "."


def _row(result: Result, own: float | None, name: str | None, goal: Goal | None) -> str:
    unit = result.figure.unit
    value = None if name is None else result.value(name)
    met = ""
    if goal is not None and own is not None:
        met = "met" if goal.is_met(own, value) else "missed"
    return _ROW.format(
        own="-" if own is None else show(own, unit),
        peer=name or "",
        value="" if value is None else show(value, unit),
        ratio=f"{own / value:.2f} {TIMES}" if own is not None and value else "",
        goal="" if goal is None else goal.describe(unit),
        met=met,
    ).rstrip()
