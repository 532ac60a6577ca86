"""The hot writer gives the bytes that the generated classes give."""

from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from wiretape.exchange import encode
from wiretape.exchange.v1 import exchange_pb2 as pb

sizes = st.one_of(st.integers(0, 300), st.sampled_from([127, 128, 16383, 16384, 2**31, 2**63 - 1]))
u32 = st.one_of(st.integers(0, 300), st.sampled_from([16383, 16384, 2**32 - 1]))
times = st.integers(1, 2**64 - 1)
texts = st.text(max_size=20)
blobs = st.binary(max_size=200)
reasons = st.integers(0, 8)
gaps = st.lists(st.tuples(sizes, sizes, reasons), max_size=3)
quick = settings(max_examples=150, deadline=None)


@quick
@given(st.integers(0, 2**64 - 1))
def test_varint(value: int) -> None:
    assert b"\x08" + encode.varint(value) == (
        pb.Gap(offset=value).SerializeToString() if value else b"\x08\x00"
    )


@quick
@given(st.binary(max_size=300), st.binary(max_size=20_000))
def test_field(name: bytes, value: bytes) -> None:
    field = pb.Field(name=name, value=value)
    wanted = pb.HttpRequest(fields=[field]).SerializeToString()
    assert encode.field(encode.REQUEST_FIELD, name, value) == wanted
    for tag, message in (
        (encode.REQUEST_TRAILER, pb.HttpRequest(trailers=[field])),
        (encode.RESPONSE_FIELD, pb.HttpResponse(fields=[field])),
        (encode.RESPONSE_TRAILER, pb.HttpResponse(trailers=[field])),
    ):
        assert encode.field(tag, name, value) == message.SerializeToString()


@quick
@given(sizes, sizes, reasons)
def test_gap(offset: int, length: int, reason: Any) -> None:
    wanted = pb.Gap(offset=offset, length=length, reason=reason)
    assert encode.gap(offset, length, reason) == wanted.SerializeToString()


@quick
@given(texts, texts, texts, st.integers(0, 2))
def test_violation(code: str, source: str, detail: str, side: Any) -> None:
    wanted = pb.Violation(code=code, source=source, detail=detail, side=side)
    assert encode.violation(code, source, detail, side) == wanted.SerializeToString()


def content_of(
    data: list[bytes], length: int, framing: Any, complete: bool, missing: Any, chunks: list[int]
) -> pb.Content:
    return pb.Content(
        data=b"".join(data),
        length=length,
        framing=framing,
        complete=complete,
        gaps=[pb.Gap(offset=o, length=n, reason=r) for o, n, r in missing],
        chunk_lengths=chunks if len(chunks) > 1 else [],
    )


contents = st.tuples(
    st.lists(blobs, max_size=4), sizes, st.integers(0, 3), st.booleans(), gaps,
    st.lists(sizes, max_size=4),
)  # fmt: skip


@quick
@given(contents)
def test_content(made: Any) -> None:
    parts, size = encode.content(*made)
    wanted = content_of(*made).SerializeToString()
    assert b"".join(parts) == wanted
    assert size == len(wanted)


@quick
@given(st.binary(max_size=20_000))
def test_content_frame(data: bytes) -> None:
    wanted = pb.Content(data=data, length=len(data), framing=pb.Content.LENGTH, complete=True)
    before, after = encode.content_frame(len(data))
    assert before + data + after == wanted.SerializeToString()


def test_frame_of_no_content() -> None:
    assert b"".join(encode.content_frame(-1)) == pb.Content(complete=True).SerializeToString()


@quick
@given(times, times)
def test_times(first: int, last: int) -> None:
    request = pb.HttpRequest(first_byte_at_ns=first, last_byte_at_ns=last)
    response = pb.HttpResponse(first_byte_at_ns=first, last_byte_at_ns=last)
    assert encode.times(encode.REQUEST_FIRST_AT, first, last) == request.SerializeToString()
    assert encode.times(encode.RESPONSE_FIRST_AT, first, last) == response.SerializeToString()


endpoints = st.tuples(texts, st.integers(0, 65535))
connections = st.tuples(
    texts, endpoints, endpoints, st.integers(0, 2**64 - 1), texts, st.booleans(),
    st.lists(st.integers(0, 4095), max_size=5),
    st.lists(st.tuples(texts, st.integers(0, 2**32 - 1), st.lists(texts, max_size=2)), max_size=3),
)  # fmt: skip


def connection_of(made: Any) -> pb.Connection:
    ident, client, server, opened, source, midstream, vlans, tunnels = made
    return pb.Connection(
        id=ident,
        client=pb.Endpoint(address=client[0], port=client[1]),
        server=pb.Endpoint(address=server[0], port=server[1]),
        opened_at_ns=opened,
        source=source,
        midstream=midstream,
        vlans=vlans,
        tunnels=[pb.Tunnel(kind=k, key=n, addresses=ends) for k, n, ends in tunnels],
    )


def encoded_connection(made: Any) -> bytes:
    ident, client, server, *plain, tunnels = made
    ends = encode.endpoint(*client), encode.endpoint(*server)
    return encode.connection(
        ident.encode(), *ends, *plain, [encode.tunnel(*each) for each in tunnels]
    )


@quick
@given(connections)
def test_connection(made: Any) -> None:
    assert encoded_connection(made) == connection_of(made).SerializeToString()


ledgers = st.tuples(st.lists(sizes, min_size=9, max_size=9), texts)
LEDGER_FIELDS = [field.name for field in pb.HalfLedger.DESCRIPTOR.fields][:9]


def ledger_of(made: Any) -> pb.HalfLedger:
    counts, reason = made
    return pb.HalfLedger(**dict(zip(LEDGER_FIELDS, counts, strict=True)), undecoded_reason=reason)


moments = st.integers(0, 2**64 - 1)


@quick
@given(texts, moments, st.integers(0, 5), ledgers, ledgers, moments)
def test_connection_end(
    ident: str, closed: int, how: Any, client: Any, server: Any, left: int
) -> None:
    encoded = encode.connection_end(
        ident.encode(),
        closed,
        how,
        encode.half_ledger(*client),
        encode.half_ledger(*server),
        client_closed_at_ns=left,
    )
    wanted = pb.ConnectionEnd(
        id=ident,
        closed_at_ns=closed,
        how=how,
        client=ledger_of(client),
        server=ledger_of(server),
        client_closed_at_ns=left,
    )
    assert encoded == wanted.SerializeToString()


@quick
@given(st.integers(1, 2**63 - 1))
def test_whole_half_ledger(size: int) -> None:
    wanted = pb.HalfLedger(payload_bytes=size, delivered_bytes=size, message_bytes=size)
    assert encode.whole_half_ledger(size) == wanted.SerializeToString()


requests = st.builds(
    pb.HttpRequest,
    version=st.just("1.1"),
    method=st.sampled_from(["GET", "POST"]),
    target=blobs,
    fields=st.lists(st.builds(pb.Field, name=blobs, value=blobs), max_size=3),
    content=contents.map(lambda made: content_of(*made)),
    first_byte_at_ns=times,
)
responses = st.builds(
    pb.HttpResponse,
    version=st.just("1.1"),
    status=st.integers(0, 999),
    reason=blobs,
    content=contents.map(lambda made: content_of(*made)),
    first_byte_at_ns=times,
)
violations = st.builds(pb.Violation, code=texts, side=st.integers(0, 2))


def cut(message: Any) -> tuple[tuple[bytes, ...], int]:
    """Encoded, as parts with their size."""
    encoded = message.SerializeToString()
    half = len(encoded) // 2
    return (encoded[:half], encoded[half:]), len(encoded)


@settings(max_examples=300, deadline=None)
@given(
    st.text(st.characters(codec="ascii"), min_size=1, max_size=60),
    connections, u32, st.integers(0, 2), st.none() | requests, st.lists(responses, max_size=2),
    st.none() | responses, st.lists(violations, max_size=2),
)  # fmt: skip
def test_exchange(
    ident: str,
    connection: Any,
    ordinal: int,
    role: Any,
    request: pb.HttpRequest | None,
    interim: list[pb.HttpResponse],
    response: pb.HttpResponse | None,
    violated: list[pb.Violation],
) -> None:
    parts, size = encode.exchange(
        ident.encode(),
        encode.delimited(2, encoded_connection(connection)),
        ordinal,
        role,
        None if request is None else cut(request),
        [cut(each) for each in interim],
        None if response is None else cut(response),
        [each.SerializeToString() for each in violated],
    )
    if request is not None and response is not None and not (interim or violated):
        answered = 7, 0xABC, request.SerializeToString(), response.SerializeToString()
        field = encode.delimited(2, encoded_connection(connection))
        (record,) = encode.answered_exchanges(b"0123", field, role, ordinal, [answered])
        same = pb.Exchange.FromString(b"".join(parts))
        same.id = f"{0xABC:016x}-0123-{ordinal}"
        assert record[0::4] == (7, 0xABC)
        assert b"".join(record[2]) == same.SerializeToString()
        assert record[3] == same.ByteSize()
    wanted = pb.Exchange(
        id=ident,
        connection=connection_of(connection),
        ordinal=ordinal,
        role=role,
        http=pb.HttpExchange(
            request=request, interim=interim, response=response, violations=violated
        ),
    ).SerializeToString()
    assert b"".join(parts) == wanted
    assert size == len(wanted)


@quick
@given(
    st.lists(st.tuples(st.sampled_from([b"B3", b"b3", b"X-Id", b"x"]), blobs), max_size=6),
    st.binary(max_size=300),
    blobs,
)
def test_fields_that_are_looked_for(
    fields: list[tuple[bytes, bytes]], target: bytes, data: bytes
) -> None:
    request = pb.HttpRequest(
        version="1.1",
        method="GET",
        # Nothing that comes off a wire has line ends here.
        target=target.replace(b"\n", b""),
        fields=[pb.Field(name=n, value=v.replace(b"\n", b"")) for n, v in fields],
    )
    head = request.SerializeToString()
    request.content.data = b"\n\x02b3\x12\x01x" + data
    request.first_byte_at_ns = 1
    whole = request.SerializeToString()
    assert encode.head_size(whole) == encode.head_size(head) == len(head)
    found = encode.named_fields(encode.field_pattern([b"b3", b"x-id"]), whole, len(head))
    assert found == [
        (f.name.lower(), f.value) for f in request.fields if f.value and f.name != b"x"
    ]


@quick
@given(st.integers(0, 2**63), st.integers(0, 2**32 - 1), st.sampled_from(["time", "thread"]))
def test_cause(first_at_ns: int, ordinal: int, evidence: str) -> None:
    ident = encode.exchange_ident(first_at_ns, b"c" * 16, ordinal)
    assert ident.decode() == f"{first_at_ns:016x}-{'c' * 16}-{ordinal}"
    wanted = pb.Exchange(cause_id=ident.decode(), cause_evidence=evidence)
    assert encode.cause(ident, evidence) == wanted.SerializeToString()
