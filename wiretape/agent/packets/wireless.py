"""IEEE 802.11 data frames that are not encrypted, plain or behind radiotap (radiotap.org)."""

import numpy as np

from wiretape.agent.packets.columns import LINK, LLC, PADDED_IEEE802_11, Columns, Peel, Rows

IEEE802_11, IEEE802_11_RADIOTAP = 105, 127

_DATA_PAD = 0x20


def _radiotap(columns: Columns, rows: Rows) -> None:
    """A header of a length that it tells, little-endian. Its flags say whether the frame's own
    header is padded; they stand first but for a timestamp."""
    rows = columns.holding(rows, 8)
    at = columns.at[rows]
    size = columns.buffer[at + 2].astype(np.int64) | columns.buffer[at + 3].astype(np.int64) << 8
    good = (columns.buffer[at] == 0) & (size >= 8)
    rows = columns.keep(rows, good, "not_ip")
    size = size[good]
    enough = columns.end[rows] - columns.at[rows] >= size
    rows, size = columns.keep(rows, enough, "truncated"), size[enough]
    at = columns.at[rows]
    present = columns.buffer[at + 4]
    words = np.ones(len(rows), np.int64)
    more = np.flatnonzero(columns.buffer[at + 7] & 0x80)
    while len(more):
        more = more[(words[more] + 2) * 4 <= size[more]]
        words[more] += 1
        more = more[columns.buffer[at[more] + 3 + words[more] * 4] & 0x80 != 0]
    flags = 4 + words * 4
    flags = np.where(present & 1, (flags + 7 & ~7) + 8, flags)
    told = (present & 2 != 0) & (flags < size)
    padded = np.zeros(len(rows), bool)
    padded[told] = columns.buffer[at[told] + flags[told]] & _DATA_PAD != 0
    columns.at[rows] = at + size
    columns.next[rows] = np.where(padded, PADDED_IEEE802_11, LINK + IEEE802_11)


def _frame(columns: Columns, rows: Rows) -> None:
    _data_frame(columns, rows, 1)


def _padded_frame(columns: Columns, rows: Rows) -> None:
    _data_frame(columns, rows, 4)


def _data_frame(columns: Columns, rows: Rows, multiple: int) -> None:
    """IEEE 802.11-2020 §9.3.2.1: what is not data (or holds none) is no IP; behind the header,
    whose length the flags tell, stands LLC."""
    rows = columns.holding(rows, 24, "not_ip")
    at = columns.at[rows]
    control, flags = columns.buffer[at], columns.buffer[at + 1]
    data = (control & 0x0F == 0x08) & (control & 0x40 == 0)
    rows = columns.keep(rows, data, "not_ip")
    control, flags = control[data], flags[data]
    plain = flags & 0x40 == 0
    rows = columns.keep(rows, plain, "encrypted")
    control, flags = control[plain], flags[plain]
    at = columns.at[rows]
    four_addresses = flags & 3 == 3
    quality = control & 0x80 != 0
    header = 24 + 6 * four_addresses.astype(np.int64)
    aggregate = np.zeros(len(rows), bool)
    held = quality & (columns.end[rows] - at > header)
    aggregate[held] = columns.buffer[at[held] + header[held]] & 0x80 != 0
    header += 2 * quality + 4 * (quality & (flags & 0x80 != 0))
    header = (header + multiple - 1) // multiple * multiple
    fragment = (flags & 0x04 != 0) | (columns.buffer[at + 22] & 0x0F != 0)
    whole = ~aggregate & ~fragment
    rows, header = columns.keep(rows, whole, "wlan_in_pieces"), header[whole]
    columns.at[rows] += header
    columns.next[rows] = LLC


LAYERS: dict[int, Peel] = {
    LINK + IEEE802_11: _frame,
    PADDED_IEEE802_11: _padded_frame,
    LINK + IEEE802_11_RADIOTAP: _radiotap,
}
