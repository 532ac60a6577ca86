"""What a live message does differently from the recorded one, as typed differences."""

from wiretape.replayer.compare.difference import Difference
from wiretape.replayer.compare.places import unused_rules
from wiretape.replayer.compare.request import compare_requests
from wiretape.replayer.compare.response import compare_responses

__all__ = ["Difference", "compare_requests", "compare_responses", "unused_rules"]
