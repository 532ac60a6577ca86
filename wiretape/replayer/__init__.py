"""Replays a recording against a local build and judges what the build does differently.

May import `wiretape.exchange`, never `wiretape.agent`. Only `wiretape.replayer.io`, `cli` and `run`
touch sockets, clocks, files or processes; everything else is plain values in, plain values out.
"""
