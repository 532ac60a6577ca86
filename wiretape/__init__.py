"""Wiretape: records what a service really did, and makes a local build prove it still does."""

__version__ = "0.1.0"
