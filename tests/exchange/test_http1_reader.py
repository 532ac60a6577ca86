"""Conversations read whole, byte by byte, cut at every place, with more behind and with holes."""

import pytest
from http_samples import BAD_LENGTHS, CHUNKS, GET, OK, SAMPLES, Sample, answer, ask
from http_talk import BEGIN_NS, Missing, Stream, Talk, read, read_in_pieces, without_times

from wiretape.exchange.v1 import exchange_pb2 as pb

every_sample = pytest.mark.parametrize("sample", SAMPLES, ids=lambda sample: sample.name)


def outcome(talk: Talk) -> list[object]:
    """Everything that must not depend on how the bytes came."""
    return [
        *(without_times(talk.of(side)) for side in (0, 1)),
        *(talk.violations(side) for side in (0, 1)),
        *((reader.message_bytes, reader.undecoded, reader.hole_bytes) for reader in talk.both),
    ]


def accounts_for(talk: Talk, *sizes: int) -> None:
    assert [talk.accounted(side) for side in (0, 1)] == list(sizes)
    for reader in talk.both:
        assert sum(reader.undecoded.values()) == reader.undecoded_bytes


@every_sample
def test_whole(sample: Sample) -> None:
    talk = read(sample.asked, sample.answered)
    requests, responses = talk.of(0), talk.of(1)
    assert [(m.method, m.content.data, m.content.framing) for m in requests] == list(
        sample.requests
    )
    assert [(m.status, m.content.data, m.content.framing) for m in responses] == list(
        sample.responses
    )
    assert all(message.content.complete for message in (*requests, *responses))
    assert all(
        message.content.length == len(message.content.data) for message in (*requests, *responses)
    )
    codes = [code for side in (0, 1) for of_one in talk.violations(side) for code in of_one]
    assert sorted(codes) == sorted(sample.codes)
    accounts_for(talk, len(sample.asked), len(sample.answered))
    assert sum(reader.undecoded_bytes for reader in talk.both) == sample.left


@every_sample
def test_byte_by_byte(sample: Sample) -> None:
    whole = read(sample.asked, sample.answered, segment=1)
    talk = read_in_pieces(single_bytes(sample.asked), single_bytes(sample.answered))
    assert outcome(talk) == outcome(whole)
    assert [talk.of(side) for side in (0, 1)] == [whole.of(side) for side in (0, 1)]


@every_sample
def test_cut_at_every_place(sample: Sample) -> None:
    whole = read(sample.asked, sample.answered, fresh=False)
    for cut in range(1, max(len(sample.asked), len(sample.answered))):
        asked = [sample.asked[:cut], sample.asked[cut:]]
        answered = [sample.answered[:cut], sample.answered[cut:]]
        assert outcome(read_in_pieces(asked, answered, fresh=False)) == outcome(whole), cut
        apart = read_in_pieces([sample.asked], answered, fresh=False)
        assert outcome(apart) == outcome(whole), cut


@every_sample
def test_answers_before_and_after_the_requests(sample: Sample) -> None:
    """Batching decides which direction is read first; it must not decide anything else."""
    whole = read(sample.asked, sample.answered)
    talk = Talk()
    talk.add(1, sample.answered)
    talk.pump()
    talk.add(0, sample.asked)
    talk.pump()
    talk.finish()
    assert outcome(talk) == outcome(whole)


@every_sample
def test_times_are_those_of_first_and_last_byte(sample: Sample) -> None:
    talk = read(sample.asked, sample.answered, segment=1)
    for side, stream in enumerate((sample.asked, sample.answered)):
        at = BEGIN_NS
        for message in talk.of(side):
            assert at <= message.first_byte_at_ns <= message.last_byte_at_ns
            at = message.last_byte_at_ns + 1
        if talk.of(side) and not talk.both[side].undecoded_bytes:
            assert at == BEGIN_NS + len(stream)


@pytest.mark.parametrize("tail", [b"\x00\xff", b"garbage\r\n\r\n", b"\x16\x03\x01\x00\x05hello"])
def test_bytes_behind_a_conversation_change_nothing_in_it(tail: bytes) -> None:
    alone = read(GET + GET, OK + OK)
    talk = read(GET + GET + tail, OK + OK + tail)
    for side in (0, 1):
        assert without_times(talk.of(side)) == without_times(alone.of(side))
        assert talk.both[side].undecoded_bytes == len(tail)
    accounts_for(talk, len(GET + GET + tail), len(OK + OK + tail))


@pytest.mark.parametrize("before", [b"\r\n", b"\r\n\r\n", b"\n", b"\n\r\n\n"])
def test_empty_lines_before_messages(before: bytes) -> None:
    plain = read(GET + GET, OK + OK)
    talk = read(before + GET + before + GET, OK + OK)
    assert without_times(talk.of(0)) == without_times(plain.of(0))
    accounts_for(talk, len(2 * before + GET + GET), len(OK + OK))
    assert not talk.requests.undecoded_bytes


@pytest.mark.parametrize(("name", "line", "code"), BAD_LENGTHS)
def test_lengths_that_are_none(name: str, line: bytes, code: str) -> None:
    """A response goes on to the end of the connection or as the first length says; it says so."""
    response = b"HTTP/1.1 200 OK\r\n" + line + b"\r\nok"
    talk = read(GET, response)
    (message,) = talk.of(1)
    assert code in talk.violations(1)[0]
    assert message.content.data == b"ok"
    accounts_for(talk, len(GET), len(response))
    request = b"POST / HTTP/1.1\r\nHost: a\r\n" + line + b"\r\n"
    talk = read(request + b"ok" + GET, b"")
    assert code in talk.violations(0)[0]
    accounts_for(talk, len(request) + 2 + len(GET), 0)


BROKEN_CHUNKS = [
    (b"xyz\r\nabc\r\n0\r\n\r\n", "invalid-chunk-size", b""),
    (b"\r\nabc\r\n0\r\n\r\n", "invalid-chunk-size", b""),
    (b"-1\r\na\r\n", "invalid-chunk-size", b""),
    (b"0x3\r\nabc\r\n0\r\n\r\n", "invalid-chunk-size", b""),
    (b"8000000000000000\r\nabc", "chunk-size-overflow", b""),
    (b"fffffffffffffffff\r\nabc", "chunk-size-overflow", b""),
    (b"3\r\nabcd\r\n0\r\n\r\n", "chunk-without-line-end", b"abc"),
    (b"3\r\nab", "incomplete-content", b"ab"),
    (b"3\r\nabc\r\n", "incomplete-content", b"abc"),
    (b"3\r\nabc\r\n0\r\n", "incomplete-content", b"abc"),
    (b"3\r\nabc\r\n0\r\nTrailer: x", "incomplete-content", b"abc"),
    (b"", "incomplete-content", b""),
]


@pytest.mark.parametrize(("chunks", "code", "kept"), BROKEN_CHUNKS)
def test_broken_chunks_keep_what_came_before(chunks: bytes, code: str, kept: bytes) -> None:
    response = answer(b"200 OK\nTransfer-Encoding: chunked", chunks)
    pieces = single_bytes(response)
    for talk in (read(GET, response), read_in_pieces([GET], pieces)):
        (message,) = talk.of(1)
        assert code in talk.violations(1)[0]
        assert message.content.data == kept
        assert not message.content.complete
        accounts_for(talk, len(GET), len(response))


def test_cut_content_is_not_complete_and_has_its_length() -> None:
    response = answer(b"200 OK\nContent-Length: 10", b"four")
    talk = read(GET, response)
    (message,) = talk.of(1)
    assert (message.content.data, message.content.length) == (b"four", 10)
    assert not message.content.complete
    assert talk.violations(1) == [["incomplete-content"]]


# -- holes


def test_hole_in_content_of_known_length() -> None:
    for talk in holed(answer(b"200 OK\nContent-Length: 10", b"ab"), 5, b"hij" + OK, [GET + GET]):
        first, second = talk.of(1)
        assert first.content.data == b"abhij"
        assert first.content.length == 10
        assert [(g.offset, g.length, g.reason) for g in first.content.gaps] == [(2, 5, pb.Gap.LOST)]
        assert not first.content.complete
        assert second.content.data == b"ok"


def test_hole_over_the_end_of_a_content_takes_the_next_heads() -> None:
    """The hole is both: the rest of one content, and messages of which nothing is known."""
    head = answer(b"200 OK\nContent-Length: 10", b"ab")
    for talk in holed(head, 30, OK, [GET + GET]):
        first, last = talk.of(1)
        assert [(g.offset, g.length) for g in first.content.gaps] == [(2, 8)]
        assert talk.responses.hole_bytes == 22
        assert last.content.data == b"ok"
        assert last.content.complete


def test_hole_in_chunk_data() -> None:
    before = answer(b"200 OK\nTransfer-Encoding: chunked", b"a\r\nab")
    for talk in holed(before, 5, b"hij\r\n1\r\nk\r\n0\r\n\r\n" + OK, [GET + GET]):
        first, second = talk.of(1)
        assert first.content.data == b"abhijk"
        assert [(g.offset, g.length) for g in first.content.gaps] == [(2, 5)]
        assert first.content.length == 11
        assert list(first.content.chunk_lengths) == [10, 1]
        assert not first.content.complete
        assert second.content.data == b"ok"


@pytest.mark.parametrize("cut", range(1, len(CHUNKS) - 1))
def test_hole_anywhere_in_chunks_never_makes_them_complete(cut: int) -> None:
    head = answer(b"200 OK\nTransfer-Encoding: chunked")
    for talk in holed(head + CHUNKS[:cut], 1, CHUNKS[cut + 1 :], [GET]):
        first = talk.of(1)[0]
        assert not first.content.complete
        assert set(first.content.data) <= set(b"abcde")


@pytest.mark.parametrize("cut", range(1, len(OK) - 3))
def test_hole_anywhere_in_a_head_is_no_whole_message(cut: int) -> None:
    """The next message begins a segment, so it is found again."""
    for talk in holed(OK[:cut], 1, [OK[cut + 1 :], OK], [GET + GET]):
        *before, last = talk.of(1)
        assert last.content.data == b"ok"
        assert last.content.complete
        for message in before:
            assert message.head_gaps
            assert message.head == OK[:cut]


def test_hole_between_messages() -> None:
    for talk in holed(OK, 100, OK, [GET + GET]):
        assert [m.content.data for m in talk.of(1)] == [b"ok", b"ok"]
        assert talk.responses.hole_bytes == 100
        assert all(m.content.complete for m in talk.of(1))


def test_after_a_hole_a_message_is_only_found_where_a_segment_begins() -> None:
    for talk in holed(OK, 10, b"rest of a content: " + OK, [GET + GET]):
        assert len(talk.of(1)) == 1
        assert talk.responses.undecoded == {"after-gap": 19 + len(OK)}


def test_hole_in_a_content_up_to_the_end() -> None:
    for talk in holed(answer(b"200 OK", b"ab"), 7, b"cd", [GET]):
        (message,) = talk.of(1)
        assert message.content.data == b"abcd"
        assert message.content.length == 11
        assert [(g.offset, g.length) for g in message.content.gaps] == [(2, 7)]
        assert not message.content.complete


def test_midstream_waits_for_the_first_message() -> None:
    talk = read((b"{tail of a content", GET), (b"7 OK\r\n\r\nmore", OK), synchronized=False)
    assert [len(talk.of(side)) for side in (0, 1)] == [1, 1]
    assert talk.requests.undecoded == {"midstream": 18}
    accounts_for(talk, 18 + len(GET), 12 + len(OK))


# -- limits


@pytest.mark.parametrize("limit", [0, 1, 4, 9, 10, 11])
@pytest.mark.parametrize("piece", [1, 3, 7, 1000])
def test_content_beyond_the_limit_is_a_gap(limit: int, piece: int) -> None:
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n"
    talk = Talk(max_content=limit)
    talk.add(0, GET)
    stream = head + b"0123456789" + OK
    talk.add(0, GET)
    for at in range(0, len(stream), piece):
        talk.add(1, stream[at : at + piece])
        talk.pump()
    talk.finish()
    first = talk.of(1)[0]
    assert first.content.length == 10
    assert first.content.data == b"0123456789"[:limit]
    gaps = [(g.offset, g.length, g.reason) for g in first.content.gaps]
    assert gaps == ([(limit, 10 - limit, pb.Gap.LIMIT)] if limit < 10 else [])
    accounts_for(talk, 2 * len(GET), len(stream))


def test_a_head_without_end_is_given_up() -> None:
    endless = b"GET / HTTP/1.1\r\n" + b"X: y\r\n" * 200_000
    talk = Talk()
    for at in range(0, len(endless), 65536):
        talk.add(0, endless[at : at + 65536])
        talk.pump()
    assert talk.queues[0].end - talk.queues[0].offset < (1 << 20) + 65536 * 2
    talk.finish()
    accounts_for(talk, len(endless), 0)


def single_bytes(stream: bytes) -> list[bytes]:
    return [stream[at : at + 1] for at in range(len(stream))]


def holed(before: bytes, hole: int, after: bytes | list[bytes], asked: Stream) -> list[Talk]:
    """The responses with a hole in them: given at once, in single bytes, and with all waiting."""
    afters = [after] if isinstance(after, bytes) else after
    given_at_once = read(asked, (before, Missing(hole), *afters))
    bytewise = Talk()
    for piece in asked:
        bytewise.add(0, piece)
    bytewise.pump()
    for byte in single_bytes(before):
        bytewise.add(1, byte)
        bytewise.pump()
    bytewise.add(1, Missing(hole))
    bytewise.pump()
    for piece in afters:
        bytewise.add(1, piece)
        bytewise.pump()
    bytewise.finish()
    size = len(before) + hole + sum(map(len, afters))
    for talk in (given_at_once, bytewise):
        accounts_for(talk, sum(len(p) for p in asked if isinstance(p, bytes)), size)
    assert outcome(given_at_once) == outcome(bytewise)
    return [given_at_once, bytewise]


def test_asking_in_pieces_of_contents_does_not_join_them() -> None:
    """A large content in many segments: the same as in one."""
    content = bytes(range(256)) * 1024
    request = ask(b"POST / HTTP/1.1\nHost: a\nContent-Length: %d" % len(content), content)
    whole = read(request, OK)
    pieces = [request[at : at + 1460] for at in range(0, len(request), 1460)]
    assert outcome(read_in_pieces(pieces, [OK])) == outcome(whole)
    (message,) = whole.of(0)
    assert message.content.data == content


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n"])
def test_only_field_ends_in_bare_lf(line_end: bytes) -> None:
    talk = read(GET + GET, b"HTTP/1.1 200 OK" + line_end + b"Content-Length: 2\n\nok" + OK)
    assert [m.content.data for m in talk.of(1)] == [b"ok", b"ok"]


def test_tail_of_a_content_is_no_part_of_a_request_line() -> None:
    talk = read((b"tail of a content", GET), b"", synchronized=False)
    assert [m.target for m in talk.of(0) if isinstance(m, pb.HttpRequest)] == [b"/"]
    assert talk.requests.undecoded == {"midstream": 17}
