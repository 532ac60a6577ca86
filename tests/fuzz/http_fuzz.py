"""Broken HTTP/1 through the readers: the same whole and in pieces, and each byte accounted for."""

from random import Random

from http_samples import SAMPLES
from http_talk import Talk
from mutations import of_bytes

from wiretape.exchange.http1 import MessageParser


class DifferenceError(Exception):
    """What a reader made of the same bytes when they came otherwise."""


def streams(random: Random) -> tuple[bytes, bytes]:
    """A few conversations, one after the other, with something broken in either direction."""
    chosen = [random.choice(SAMPLES) for _ in range(random.randrange(1, 4))]
    asked = b"".join(sample.asked for sample in chosen)
    answered = b"".join(sample.answered for sample in chosen)
    if random.randrange(3):
        asked = of_bytes(asked, random, answered)
    if random.randrange(3):
        answered = of_bytes(answered, random, asked)
    return asked, answered


def pieces(stream: bytes, random: Random) -> list[bytes]:
    """The stream in pieces of random sizes."""
    cut = []
    while stream:
        size = random.choice((1, 1, 2, 3, 7, 30, 1000))
        cut.append(stream[:size])
        stream = stream[size:]
    return cut


def check_readers(asked: bytes, answered: bytes, random: Random) -> None:
    """Cut in the same segments, given at once or one by one: the same messages and counts."""
    cuts = pieces(asked, random), pieces(answered, random)
    outcomes = []
    for at_once in (True, False):
        talk = Talk()
        rest = [list(cut) for cut in cuts]
        while rest[0] or rest[1]:
            for side in (0, 1):
                taken = rest[side] if at_once else rest[side][:1]
                rest[side] = [] if at_once else rest[side][1:]
                for piece in taken:
                    talk.add(side, piece)
            talk.pump()
        talk.finish()
        for side, stream in enumerate((asked, answered)):
            if talk.accounted(side) != len(stream):
                raise DifferenceError(f"{talk.accounted(side)} bytes of {len(stream)}")
        by_side = [[(m, c) for of, m, c in talk.messages if of == side] for side in (0, 1)]
        outcomes.append((by_side, [reader.undecoded for reader in talk.both]))
    if outcomes[0] != outcomes[1]:
        raise DifferenceError("whole and in pieces differ")


def check_parser(stream: bytes, random: Random, responses: bool) -> None:
    """A live peer's reader, in other pieces: the same messages."""
    outcomes = []
    for cut in ([stream], pieces(stream, random), pieces(stream, random)):
        parser = MessageParser.responses() if responses else MessageParser.requests()
        if responses:
            for method in ("GET", "HEAD", "CONNECT", "GET", "GET"):
                parser.expect(method)
        messages = []
        for piece in cut:
            messages += parser.receive_data(piece, 1)
            if parser.failed:
                break  # where it would go on, pieces decide: a message is looked for at their start
        else:
            messages += parser.receive_eof(1)
        kept = [] if parser.failed else [m.SerializeToString() for m in messages]
        outcomes.append((kept, parser.failed))
    if any(outcome != outcomes[0] for outcome in outcomes):
        raise DifferenceError("a parser differs by its pieces")


def check(seed: int) -> None:
    random = Random(seed)
    asked, answered = streams(random)
    check_readers(asked, answered, random)
    check_parser(asked, random, responses=False)
    check_parser(answered, random, responses=True)
