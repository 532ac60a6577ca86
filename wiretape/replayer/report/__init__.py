"""A verdict as text for people, as JSON for programs, as JUnit XML for CI."""

from wiretape.replayer.report.json import json_report
from wiretape.replayer.report.junit import junit_report
from wiretape.replayer.report.text import describe, text_report

__all__ = ["describe", "json_report", "junit_report", "text_report"]
