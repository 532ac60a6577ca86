"""Which exchange that a service was asked made it ask another.

Three things prove it, the strongest first: a trace field that both requests bear; that the thread
which read the one request sent the other; that no other exchange was open while the head of the
other request was sent. Each counts only where it leaves exactly one, and where what is stronger
does not speak against it. All else stays empty.

What is open is told by packets: from the one that completed a request's head, for nobody acts on
less, to the one that finished the exchange. Each call is judged by what had passed up to the packet
that completed its own head, so it does not matter how packets were batched.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Sequence
from operator import attrgetter
from typing import Protocol

from wiretape.agent.packets import I64
from wiretape.agent.plain import Head
from wiretape.agent.trace import trace_marks
from wiretape.exchange import encode
from wiretape.exchange.encode import Answered
from wiretape.exchange.http1 import Message
from wiretape.exchange.records import Record
from wiretape.exchange.trace import TRACES, Mark
from wiretape.exchange.v1 import exchange_pb2 as pb

MAX_LATE = 1024
"""How many exchanges of a service are remembered that are over."""
MAX_CALLERS = 1 << 18
"""Of how many segments it is remembered who caused them."""
MAX_IDLE_SERVICES = 1 << 14

_INBOUND, _OUTBOUND = int(pb.ROLE_INBOUND), int(pb.ROLE_OUTBOUND)
_NEVER = 1 << 63
_BEGIN, _END, _HEAD = attrgetter("begin"), attrgetter("end"), attrgetter("head")


class Conversation(Protocol):
    """A connection as far as it was read."""

    @property
    def lost_since(self) -> int:
        """The packet since which the requests are not understood; -1 where they are."""

    def unrecorded(self, known: int) -> Iterator[tuple[Message, bytes]]:
        """Requests that are not recorded, but for the first `known`, each with its encoded head."""


class Callers:
    """Who made the system calls behind the latest segments: process << 32 | thread."""

    def __init__(self) -> None:
        self._firsts: deque[int] = deque()
        self._callers: deque[I64] = deque()
        self._count = 0

    def add(self, first: int, callers: I64) -> None:
        """Of consecutive segments, of which `first` is the packet of the first."""
        self._firsts.append(first)
        self._callers.append(callers)
        self._count += len(callers)
        while self._count > MAX_CALLERS and len(self._callers) > 1:
            self._count -= len(self._callers.popleft())
            self._firsts.popleft()

    def of(self, packet: int) -> int:
        """0 where it is not known."""
        place = bisect_right(self._firsts, packet) - 1
        if place < 0:
            return 0
        row = packet - self._firsts[place]
        return int(self._callers[place][row]) if row < len(self._callers[place]) else 0


class Asked:
    """An exchange that a service was asked; without a line, one that may have been."""

    __slots__ = ("begin", "drops", "end", "first_at_ns", "line", "marks", "rank", "state")

    def __init__(
        self, state: "_State", begin: int, marks: Iterable[Mark], drops: int,
        line: "Line | None" = None, rank: int = 0, first_at_ns: int = 0,
    ) -> None:  # fmt: skip
        self.state = state
        self.begin = begin
        """The packet that completed the head of its request."""
        self.end = -1
        """The packet that finished it; -1 while it is open."""
        self.marks = frozenset(marks)
        self.drops = drops
        """What the kernel had dropped by then."""
        self.line = line
        self.rank = rank
        """How many requests came before it on its connection."""
        self.first_at_ns = first_at_ns

    def ident(self, packet: int) -> bytes:
        """The exchange's identifier, as far as `packet` shows: exchanges are numbered where they
        end, and one whose request was not seen may still end before this one."""
        assert self.line is not None, "it has no name"
        ordinal = self.rank + bisect_right(self.line.unasked, packet)
        return encode.exchange_ident(self.first_at_ns, self.line.ident, ordinal)

    def speaks_against(self, call: "Call") -> bool:
        """Whether both are traced in the same way, and are of other traces."""
        traces = {kind for kind, _ in self.marks} & {kind for kind, _ in call.marks} & TRACES
        return not traces <= {kind for kind, _ in self.marks & call.marks.keys()}


class Call:
    """An exchange that a service asked."""

    __slots__ = ("_place", "_records", "_said", "first", "head", "marks", "thread")

    def __init__(self, first: int, head: int, marks: dict[Mark, str], thread: Mark | None) -> None:
        """`first`, `head`: the packets of the first byte of its request, and of its head's end."""
        self.first = first
        self.head = head
        self.marks = marks
        self.thread = thread
        self._records: list[Record] | None = None
        self._place = 0
        self._said: bytes | None = None

    def recorded(self, records: list[Record], place: int) -> None:
        """Its record is records[place]."""
        self._records, self._place = records, place
        if self._said is not None:
            self.decided(self._said)

    def decided(self, said: bytes) -> None:
        """`said`: what its record has to say of the cause."""
        self._said = said
        if said and self._records is not None:
            packet, channel, parts, size, at_ns = self._records[self._place]
            record = packet, channel, (*parts, said), size + len(said), at_ns
            self._records[self._place] = record


class _State:
    """What is open at one service."""

    __slots__ = ("_by_mark", "_late", "_late_marks", "_opened", "begun", "calls", "ended")

    def __init__(self) -> None:
        self.begun: list[Asked] = []
        self.ended: list[Asked] = []
        self.calls: list[Call] = []
        """These three since the last decision."""
        self._opened: set[Asked] = set()
        self._by_mark: dict[Mark, set[Asked]] = {}
        self._late: deque[Asked] = deque()
        """Those that ended last."""
        self._late_marks: Counter[Mark] = Counter()

    @property
    def idle(self) -> bool:
        return not self._opened

    def decide(self, all_seen: bool, drops: int) -> None:
        """Goes through what happened since the last time, packet by packet."""
        if not self.calls:
            # Most of what begins and ends in between is never looked at.
            self.begun = [asked for asked in self.begun if asked.end < 0]
        self.begun.sort(key=_BEGIN)
        self.ended.sort(key=_END)
        self.calls.sort(key=_HEAD)
        begun = ended = 0
        for call in self.calls:
            begun, ended = self._go_on(begun, ended, call.head)
            found = self._by_fields(call)
            if isinstance(found, set):
                found = self._alone(call, found, drops) if all_seen else None
            call.decided(encode.cause(found[0].ident(call.head), found[1]) if found else b"")
        self._go_on(begun, ended, _NEVER)
        self.begun, self.ended, self.calls = [], [], []

    def _go_on(self, begun: int, ended: int, packet: int) -> tuple[int, int]:
        """Takes what begins and ends before `packet`, of which so many are taken; how many then."""
        to_begin = bisect_left(self.begun, packet, begun, key=_BEGIN)
        for asked in self.begun[begun:to_begin]:
            self._opened.add(asked)
            for mark in asked.marks:
                self._by_mark.setdefault(mark, set()).add(asked)
        to_end = bisect_left(self.ended, packet, ended, key=_END)
        for asked in self.ended[ended:to_end]:
            if asked in self._opened:
                self._opened.remove(asked)
                for mark in asked.marks:
                    bearers = self._by_mark[mark]
                    bearers.remove(asked)
                    if not bearers:
                        del self._by_mark[mark]
        for asked in self.ended[max(ended, to_end - MAX_LATE) : to_end]:
            self._late.append(asked)
            self._late_marks.update(asked.marks)
            if len(self._late) > MAX_LATE:
                for mark in self._late.popleft().marks:
                    self._late_marks[mark] -= 1
                    if not self._late_marks[mark]:
                        del self._late_marks[mark]
        return to_begin, to_end

    def _by_fields(self, call: Call) -> tuple[Asked, str] | set[Asked] | None:
        """The one whose fields the call bears; or those, if any, that have to be told apart by
        something else; None where nothing else may tell."""
        left: set[Asked] = set()
        evidence = ""
        for mark, name in call.marks.items():
            bearers = _before(call, self._by_mark.get(mark))
            if bearers:
                before, left = len(left), left & bearers if left else bearers
                if not left:
                    return None  # one field says this one, another that one
                if len(left) == 1 != before:
                    evidence = f"field:{name}"
            elif mark in self._late_marks:
                return None  # work that goes on after the answer
        return (next(iter(left)), evidence) if len(left) == 1 else left

    def _alone(self, call: Call, among: set[Asked], drops: int) -> tuple[Asked, str] | None:
        """The only one that is open on the call's thread, or the only one at all."""
        if self._late and self._late[-1].end >= call.first:
            return None  # it ended while the head was sent
        on_thread = self._by_mark.get(call.thread) if call.thread else None
        for opened, evidence in ((on_thread, "thread"), (self._opened, "time")):
            found = _before(call, opened)
            if not found:
                continue
            one = next(iter(found))
            if len(found) > 1 or one.line is None or one.drops != drops:
                return None
            if (among and one not in among) or one.speaks_against(call):
                return None
            return one, evidence
        return None


def _before(call: Call, asked: set[Asked] | None) -> set[Asked]:
    """Those that were there to act on before the call began."""
    if not asked or call.first == call.head:
        return asked or set()
    return {each for each in asked if each.begin < call.first}


class Line:
    """A connection to a service, or of its own to another: takes what begins and ends on it."""

    __slots__ = (
        "_begun",
        "_blind",
        "_causes",
        "_requests",
        "_service",
        "ident",
        "inbound",
        "unasked",
    )

    def __init__(self, causes: "Causes", ident: bytes, inbound: bool, service: str) -> None:
        """`service`: its address."""
        self._causes = causes
        self._service = service
        self.ident = ident
        self.inbound = inbound
        self._requests = 0
        """How many have begun."""
        self._begun: deque[tuple[Message, Asked | Call]] = deque()
        """Those that are not recorded, in order, with what they began."""
        self.unasked: list[int] = []
        """The packets that finished exchanges of which no request was seen."""
        self._blind: Asked | None = None
        """Stands for what cannot be understood at the moment."""

    def read(self, conversation: Conversation) -> None:
        """The connection was read on."""
        for request, head in conversation.unrecorded(len(self._begun)):
            self._begun.append((request, self._begin(request, head)))
        if self.inbound and self._blind is None and conversation.lost_since >= 0:
            self._blind = self._ask(conversation.lost_since, ())

    def answered(self, exchanges: Sequence[Answered], heads: Sequence[Head]) -> list[Call]:
        """Whole exchanges. Returns the calls."""
        calls = []
        for answered, (first, end, size) in zip(exchanges, heads, strict=True):
            packet, first_at_ns, request, _ = answered
            marks = trace_marks(request, size)
            if self.inbound:
                self._end(self._ask(end, marks, first_at_ns), packet)
            else:
                calls.append(self._call(first, end, marks))
        return calls

    def recorded(self, packet: int, request: Message | None) -> Call | None:
        """An exchange that `packet` finished. Returns the call, if it is one."""
        if request is None:
            self.unasked.append(packet)
            return None
        if self._begun:
            known, begun = self._begun.popleft()
            assert known is request, "requests are recorded in order"
        else:
            begun = self._begin(request, request.encoded[0][0])
        if isinstance(begun, Call):
            return begun
        self._end(begun, packet)
        return None

    def closed(self, conversation: Conversation, packet: int) -> None:
        """The connection is over, and all its exchanges are recorded."""
        self.read(conversation)
        if self._blind is not None:
            self._end(self._blind, packet)

    def _begin(self, request: Message, head: bytes) -> Asked | Call:
        first, last = request.head_packets or (request.packet, request.packet)
        marks = trace_marks(head, encode.head_size(head))
        if not self.inbound:
            return self._call(first, last, marks)
        if request.lost_since >= 0:
            self._end(self._blind or self._ask(request.lost_since, ()), last)
            self._blind = None
        return self._ask(last, marks, request.first_at_ns)

    def _ask(self, begin: int, marks: Iterable[Mark], first_at_ns: int = -1) -> Asked:
        """Without a time: something that may be a request."""
        state, thread = self._causes.at(self._service, begin)
        if thread is not None:
            marks = (*marks, thread)
        line = self if first_at_ns >= 0 else None
        asked = Asked(state, begin, marks, self._causes.drops, line, self._requests, first_at_ns)
        self._requests += line is not None
        state.begun.append(asked)
        return asked

    def _call(self, first: int, head: int, marks: dict[Mark, str]) -> Call:
        state, thread = self._causes.at(self._service, first)
        call = Call(first, head, marks, thread)
        state.calls.append(call)
        return call

    def _end(self, asked: Asked, packet: int) -> None:
        asked.end = packet
        asked.state.ended.append(asked)
        self._causes.touch(asked.state)


class Causes:
    """Finds the causes of calls; `decide` writes them into their records."""

    def __init__(self, callers: Callers | None = None) -> None:
        """Where `callers` are known, processes are the services, not addresses."""
        self.callers = callers
        self.drops = 0
        """How many packets the kernel has dropped."""
        self._states: dict[str | int, _State] = {}
        """By the service's address, or by process."""
        self._touched: set[_State] = set()

    def line(self, ident: bytes, role: int, client: str, server: str) -> Line | None:
        """For a connection between these addresses; None where it is no service's."""
        if role == _INBOUND:
            return Line(self, ident, True, server)
        return Line(self, ident, False, client) if role == _OUTBOUND else None

    def decide(self, all_seen: bool) -> None:
        """Finds the causes of the calls that were taken. Only fields tell, unless the agent saw
        `all` there was."""
        for state in self._touched:
            state.decide(all_seen, self.drops)
        self._touched.clear()
        if len(self._states) > MAX_IDLE_SERVICES:
            self._states = {key: state for key, state in self._states.items() if not state.idle}

    def at(self, address: str, packet: int) -> tuple[_State, Mark | None]:
        """Where it happens, at a service with that address: what is open there, and the thread."""
        service: str | int = address
        thread = None
        if self.callers is not None:
            caller = self.callers.of(packet)
            service = caller >> 32
            thread = ("thread", b"%d" % (caller & 0xFFFFFFFF)) if caller else None
        state = self._states.get(service)
        if state is None:
            state = self._states[service] = _State()
        self.touch(state)
        return state, thread

    def touch(self, state: _State) -> None:
        """Something happens there."""
        self._touched.add(state)
