"""The process between us and the build: it starts the build, and leaves nothing of it behind.

`client` is our side of it. Everything else runs in that process, which has one thread and imports
the standard library alone.
"""
