"""Plain exchanges: both messages are plain, and the response plainly answers the request.

Most traffic is like this, and here is where an import spends most of its time: one loop for both
messages. Whatever else an exchange may be is left to the readers, which give the same for it.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable

from wiretape.exchange.encode import REQUEST_FIRST_AT, RESPONSE_FIRST_AT, TIMES, Answered
from wiretape.exchange.http1 import Sections
from wiretape.exchange.stream import Readable

Head = tuple[int, int, int]
"""Of a request: the packets of its first byte and of its head's end, and how many bytes of the
encoded request come from its head."""

_MODULUS, _HALF_MODULUS = 1 << 32, 1 << 31


def read_plain_exchanges(
    sections: Sections,
    requests: Readable,
    responses: Readable,
    sent: tuple[int, int],
    floor: int = 0,
    given_up_before: Callable[[int], int] | None = None,
    heads: list[Head] | None = None,
) -> list[Answered]:
    """Reads on, from where both stand, as long as one plain exchange follows another.

    `sent` is an offset in the direction of the requests with its sequence number, to read
    acknowledgments by. No exchange is finished before the packet `floor`, nor before another that
    stands before it. `given_up_before` tells of holes before what a response acknowledges, if there
    were any. `heads` gets those of the requests.
    """
    exchanges: list[Answered] = []
    data, reply = requests.data, responses.data
    pos, reply_pos = requests.pos, responses.pos
    size, reply_size = len(data), len(reply)
    read_request, read_response = sections.plain_requests.read, sections.plain_responses.read
    base, ends, at_ns, packets = requests.base, requests.ends, requests.at_ns, requests.packets
    reply_base, reply_ends, reply_at_ns = responses.base, responses.ends, responses.at_ns
    reply_packets, acks = responses.packets, responses.acks
    segment = bisect_right(ends, base + pos)
    reply_segment = bisect_right(reply_ends, reply_base + reply_pos)
    acknowledged, number = sent
    times = TIMES.pack
    while pos < size and reply_pos < reply_size:
        request = read_request(data, pos)
        if request is None:
            break
        template, layout, values, before, content, after, stop = request
        response = read_response(reply, reply_pos, template.method)
        if response is None:
            break
        _, reply_layout, reply_values, reply_before, reply_content, reply_after, reply_stop = (
            response
        )

        offset = reply_base + reply_pos
        while reply_ends[reply_segment] <= offset:
            reply_segment += 1
        heard = -1
        if acks:
            ahead = (acks[reply_segment] - number + _HALF_MODULUS) % _MODULUS - _HALF_MODULUS
            heard = acknowledged + ahead
            if heard <= base + pos:
                break
        reply_first_ns = reply_at_ns[reply_segment]
        offset = reply_base + reply_stop
        while reply_ends[reply_segment] < offset:
            reply_segment += 1
        reply_last_ns = reply_at_ns[reply_segment]
        if reply_last_ns < reply_first_ns:
            reply_last_ns = reply_first_ns

        offset = base + pos
        while ends[segment] <= offset:
            segment += 1
        first_ns = at_ns[segment]
        offset = base + stop
        while ends[segment] < offset:
            segment += 1
        last_ns = at_ns[segment]
        if last_ns < first_ns:
            last_ns = first_ns

        if packets[segment] > floor:
            floor = packets[segment]
        if reply_packets[reply_segment] > floor:
            floor = reply_packets[reply_segment]
        if given_up_before is not None:
            floor = max(floor, given_up_before(heard))
        asked_at = times(REQUEST_FIRST_AT, first_ns, REQUEST_FIRST_AT + 8, last_ns)
        replied_at = times(RESPONSE_FIRST_AT, reply_first_ns, RESPONSE_FIRST_AT + 8, reply_last_ns)
        asked = layout % (*values, before, content, after, asked_at)
        exchanges.append(
            (
                floor,
                first_ns,
                asked,
                reply_layout
                % (*reply_values, reply_before, reply_content, reply_after, replied_at),
            )
        )
        if heads is not None:
            begun = bisect_right(ends, base + pos)
            whole = bisect_left(ends, base + data.index(b"\r\n\r\n", pos) + 4)
            behind = len(before) + len(content) + len(after) + len(asked_at)
            heads.append((packets[begun], packets[whole], len(asked) - behind))
        requests.pos, responses.pos = pos, reply_pos = stop, reply_stop
    return exchanges
