"""Latency of each endpoint, recorded against live, as inline SVG on a logarithmic scale."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from math import ceil, floor, log10

from wiretape.replayer.report.words import count, milliseconds, shown
from wiretape.replayer.verdict import Latency, Percentiles

_WIDTH = 1000
_LEFT, _RIGHT = 300, 170
_ROW, _AXIS = 34, 24
_MAX_ROWS = 30
_LABEL = 42


def latency_chart(latency: Sequence[Latency]) -> str:
    """The slowest endpoints, all together at the head."""
    known = [one for one in latency if one.recorded is not None or one.live is not None]
    ranked = sorted(known, key=lambda one: (bool(one.endpoint), -_slowest(one), one.endpoint))
    return "".join(_chart(ranked[:_MAX_ROWS], len(ranked) - _MAX_ROWS))


def _slowest(one: Latency) -> int:
    return max(side.p95_us for side in (one.recorded, one.live) if side is not None)


def _chart(rows: list[Latency], left_out: int) -> Iterator[str]:
    sides = [side for one in rows for side in (one.recorded, one.live) if side is not None]
    low = floor(log10(max(1, min(side.p50_us for side in sides))))
    high = max(low + 1, ceil(log10(max(2, *(side.p99_us for side in sides)))))
    height = len(rows) * _ROW + _AXIS

    def x(microseconds: int) -> float:
        part = (log10(max(1, microseconds)) - low) / (high - low)
        return _LEFT + min(1.0, max(0.0, part)) * (_WIDTH - _LEFT - _RIGHT)

    yield (
        f'<svg class="chart" viewBox="0 0 {_WIDTH} {height}" role="img"'
        ' aria-label="latency by endpoint">'
    )
    for power in range(low, high + 1):
        at = x(10**power)
        yield (
            f'<line class="grid" x1="{at:.1f}" x2="{at:.1f}" y1="0" y2="{height - _AXIS}"/>'
            f'<text class="axis" x="{at:.1f}" y="{height - 6}" text-anchor="middle">'
            f"{milliseconds(10**power)}</text>"
        )
    for place, one in enumerate(rows):
        top = place * _ROW
        name = shown(one.endpoint) or "all endpoints"
        short = name if len(name) <= _LABEL else f"{name[: _LABEL - 1]}…"
        times = max(side.count for side in (one.recorded, one.live) if side is not None)
        yield (
            f"<g><title>{escape(name)}, {count(times, 'exchange')}</title>"
            f'<text x="0" y="{top + 21}">{escape(short)}</text>'
        )
        for side, style, y in ((one.recorded, "recorded", top + 12), (one.live, "live", top + 23)):
            if side is not None:
                yield _range(side, style, y, x(side.p50_us), x(side.p95_us), x(side.p99_us))
        yield (
            f'<text class="axis" x="{_WIDTH}" y="{top + 21}" text-anchor="end">'
            f"p50 {both(one, 'p50_us')}</text></g>"
        )
    yield "</svg>\n"
    if left_out > 0:
        yield f'<p class="weak">and {count(left_out, "faster endpoint")}</p>'


def _range(side: Percentiles, style: str, y: int, p50: float, p95: float, p99: float) -> str:
    told = ", ".join(
        f"{name} {milliseconds(value)}"
        for name, value in (
            ("p50", side.p50_us),
            ("p90", side.p90_us),
            ("p95", side.p95_us),
            ("p99", side.p99_us),
            ("at most", side.max_us),
        )
    )
    return (
        f'<g class="{style}"><title>{style}: {told}</title>'
        f'<line class="range" x1="{p50:.1f}" x2="{p99:.1f}" y1="{y}" y2="{y}"/>'
        f'<line class="tick" x1="{p95:.1f}" x2="{p95:.1f}" y1="{y - 4}" y2="{y + 4}"/>'
        f'<circle cx="{p50:.1f}" cy="{y}" r="4"/></g>'
    )


def both(one: Latency, name: str) -> str:
    """`recorded → live` of one percentile."""
    return " → ".join(
        "-" if side is None else milliseconds(getattr(side, name))
        for side in (one.recorded, one.live)
    )
