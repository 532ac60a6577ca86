"""A verdict as text for people, as JSON for programs, as JUnit XML, as a page, for agents."""

from wiretape.replayer.report.agent import agent_report
from wiretape.replayer.report.html import html_pieces, html_report
from wiretape.replayer.report.json import json_lines, json_report
from wiretape.replayer.report.junit import junit_report
from wiretape.replayer.report.text import text_report
from wiretape.replayer.report.words import describe

__all__ = [
    "agent_report",
    "describe",
    "html_pieces",
    "html_report",
    "json_lines",
    "json_report",
    "junit_report",
    "text_report",
]
