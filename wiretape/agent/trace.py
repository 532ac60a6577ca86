"""The trace fields of encoded requests."""

from wiretape.exchange.encode import field_pattern, named_fields
from wiretape.exchange.trace import TRACE_FIELDS, Mark, marks_of

_ANY = field_pattern(TRACE_FIELDS)


def trace_marks(request: bytes, size: int) -> dict[Mark, str]:
    """The marks in the head of an encoded HttpRequest, its first `size` bytes, each with the name
    of the field that bears it; those that tell most come first."""
    fields = named_fields(_ANY, request, size)
    return marks_of(fields) if fields else {}
