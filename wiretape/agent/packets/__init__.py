"""Packets decoded a batch at once, as NumPy columns: link layers, tunnels, IP, TCP."""

from wiretape.agent.packets.columns import (
    ACK,
    FIN,
    I64,
    RST,
    SYN,
    U8,
    U64,
    PacketBatch,
    Segments,
    Tunnel,
)
from wiretape.agent.packets.decoder import Decoded, Decoder

__all__ = [
    "ACK",
    "FIN",
    "I64",
    "RST",
    "SYN",
    "U8",
    "U64",
    "Decoded",
    "Decoder",
    "PacketBatch",
    "Segments",
    "Tunnel",
]
