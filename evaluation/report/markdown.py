"""Tables and figures as markdown, a missing figure as a dash."""

from __future__ import annotations

from collections.abc import Sequence


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def interval(share: dict) -> str:
    """A share in per cent with its 95 % interval: 98.4 (95.5-99.5)."""
    if share["rate"] is None:
        return "-"
    return "{rate:.1f} ({low:.1f}-{high:.1f})".format(**{key: 100.0 * share[key] for key in ("rate", "low", "high")})


def percent(share: dict) -> str:
    return scaled(share["rate"], 100.0, ".0f")


def share_or_mean_text(figure: dict) -> str:
    """A share as 98.4 (95.5-99.5), a mean as 0.912 (0.887 to 0.937)."""
    if "rate" in figure:
        return interval(figure)
    if figure["low"] is None:
        return number(figure["mean"], ".3g")
    return "{mean:.3g} ({low:.3g} to {high:.3g})".format(**figure)


def scaled(value: float | None, factor: float, form: str) -> str:
    return number(None if value is None else factor * value, form)


def number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)
