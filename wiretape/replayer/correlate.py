"""The names of `wiretape.replayer.values` under which callers still know them."""

from wiretape.replayer.values import Correlation, Instant, Judgement, Span, read_instant, shape

__all__ = ["Correlation", "Instant", "Judgement", "Span", "read_instant", "shape"]
