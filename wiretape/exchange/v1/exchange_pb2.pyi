from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_INBOUND: _ClassVar[Role]
    ROLE_OUTBOUND: _ClassVar[Role]
ROLE_UNSPECIFIED: Role
ROLE_INBOUND: Role
ROLE_OUTBOUND: Role

class Exchange(_message.Message):
    __slots__ = ("id", "connection", "ordinal", "role", "cause_id", "cause_evidence", "http")
    ID_FIELD_NUMBER: _ClassVar[int]
    CONNECTION_FIELD_NUMBER: _ClassVar[int]
    ORDINAL_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    CAUSE_ID_FIELD_NUMBER: _ClassVar[int]
    CAUSE_EVIDENCE_FIELD_NUMBER: _ClassVar[int]
    HTTP_FIELD_NUMBER: _ClassVar[int]
    id: str
    connection: Connection
    ordinal: int
    role: Role
    cause_id: str
    cause_evidence: str
    http: HttpExchange
    def __init__(self, id: _Optional[str] = ..., connection: _Optional[_Union[Connection, _Mapping]] = ..., ordinal: _Optional[int] = ..., role: _Optional[_Union[Role, str]] = ..., cause_id: _Optional[str] = ..., cause_evidence: _Optional[str] = ..., http: _Optional[_Union[HttpExchange, _Mapping]] = ...) -> None: ...

class Connection(_message.Message):
    __slots__ = ("id", "client", "server", "opened_at_ns", "source", "process", "tls", "midstream", "vlans", "tunnels")
    ID_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    OPENED_AT_NS_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    PROCESS_FIELD_NUMBER: _ClassVar[int]
    TLS_FIELD_NUMBER: _ClassVar[int]
    MIDSTREAM_FIELD_NUMBER: _ClassVar[int]
    VLANS_FIELD_NUMBER: _ClassVar[int]
    TUNNELS_FIELD_NUMBER: _ClassVar[int]
    id: str
    client: Endpoint
    server: Endpoint
    opened_at_ns: int
    source: str
    process: Process
    tls: Tls
    midstream: bool
    vlans: _containers.RepeatedScalarFieldContainer[int]
    tunnels: _containers.RepeatedCompositeFieldContainer[Tunnel]
    def __init__(self, id: _Optional[str] = ..., client: _Optional[_Union[Endpoint, _Mapping]] = ..., server: _Optional[_Union[Endpoint, _Mapping]] = ..., opened_at_ns: _Optional[int] = ..., source: _Optional[str] = ..., process: _Optional[_Union[Process, _Mapping]] = ..., tls: _Optional[_Union[Tls, _Mapping]] = ..., midstream: _Optional[bool] = ..., vlans: _Optional[_Iterable[int]] = ..., tunnels: _Optional[_Iterable[_Union[Tunnel, _Mapping]]] = ...) -> None: ...

class Tunnel(_message.Message):
    __slots__ = ("kind", "key", "addresses")
    KIND_FIELD_NUMBER: _ClassVar[int]
    KEY_FIELD_NUMBER: _ClassVar[int]
    ADDRESSES_FIELD_NUMBER: _ClassVar[int]
    kind: str
    key: int
    addresses: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, kind: _Optional[str] = ..., key: _Optional[int] = ..., addresses: _Optional[_Iterable[str]] = ...) -> None: ...

class Endpoint(_message.Message):
    __slots__ = ("address", "port")
    ADDRESS_FIELD_NUMBER: _ClassVar[int]
    PORT_FIELD_NUMBER: _ClassVar[int]
    address: str
    port: int
    def __init__(self, address: _Optional[str] = ..., port: _Optional[int] = ...) -> None: ...

class Process(_message.Message):
    __slots__ = ("pid", "command", "container_id")
    PID_FIELD_NUMBER: _ClassVar[int]
    COMMAND_FIELD_NUMBER: _ClassVar[int]
    CONTAINER_ID_FIELD_NUMBER: _ClassVar[int]
    pid: int
    command: bytes
    container_id: str
    def __init__(self, pid: _Optional[int] = ..., command: _Optional[bytes] = ..., container_id: _Optional[str] = ...) -> None: ...

class Tls(_message.Message):
    __slots__ = ("server_name", "alpn", "version")
    SERVER_NAME_FIELD_NUMBER: _ClassVar[int]
    ALPN_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    server_name: bytes
    alpn: bytes
    version: str
    def __init__(self, server_name: _Optional[bytes] = ..., alpn: _Optional[bytes] = ..., version: _Optional[str] = ...) -> None: ...

class ConnectionEnd(_message.Message):
    __slots__ = ("id", "closed_at_ns", "how", "client", "server", "violations", "kernel_drops", "client_closed_at_ns")
    class How(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        HOW_UNSPECIFIED: _ClassVar[ConnectionEnd.How]
        CLOSED: _ClassVar[ConnectionEnd.How]
        RESET: _ClassVar[ConnectionEnd.How]
        OPEN: _ClassVar[ConnectionEnd.How]
        REPLACED: _ClassVar[ConnectionEnd.How]
        EVICTED: _ClassVar[ConnectionEnd.How]
    HOW_UNSPECIFIED: ConnectionEnd.How
    CLOSED: ConnectionEnd.How
    RESET: ConnectionEnd.How
    OPEN: ConnectionEnd.How
    REPLACED: ConnectionEnd.How
    EVICTED: ConnectionEnd.How
    ID_FIELD_NUMBER: _ClassVar[int]
    CLOSED_AT_NS_FIELD_NUMBER: _ClassVar[int]
    HOW_FIELD_NUMBER: _ClassVar[int]
    CLIENT_FIELD_NUMBER: _ClassVar[int]
    SERVER_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    KERNEL_DROPS_FIELD_NUMBER: _ClassVar[int]
    CLIENT_CLOSED_AT_NS_FIELD_NUMBER: _ClassVar[int]
    id: str
    closed_at_ns: int
    how: ConnectionEnd.How
    client: HalfLedger
    server: HalfLedger
    violations: _containers.RepeatedCompositeFieldContainer[Violation]
    kernel_drops: int
    client_closed_at_ns: int
    def __init__(self, id: _Optional[str] = ..., closed_at_ns: _Optional[int] = ..., how: _Optional[_Union[ConnectionEnd.How, str]] = ..., client: _Optional[_Union[HalfLedger, _Mapping]] = ..., server: _Optional[_Union[HalfLedger, _Mapping]] = ..., violations: _Optional[_Iterable[_Union[Violation, _Mapping]]] = ..., kernel_drops: _Optional[int] = ..., client_closed_at_ns: _Optional[int] = ...) -> None: ...

class HalfLedger(_message.Message):
    __slots__ = ("payload_bytes", "delivered_bytes", "retransmitted_bytes", "overlapping_bytes", "beyond_limits_bytes", "gap_bytes", "message_bytes", "undecoded_bytes", "gap_bytes_outside_messages", "undecoded_reason", "conflicting_bytes")
    PAYLOAD_BYTES_FIELD_NUMBER: _ClassVar[int]
    DELIVERED_BYTES_FIELD_NUMBER: _ClassVar[int]
    RETRANSMITTED_BYTES_FIELD_NUMBER: _ClassVar[int]
    OVERLAPPING_BYTES_FIELD_NUMBER: _ClassVar[int]
    BEYOND_LIMITS_BYTES_FIELD_NUMBER: _ClassVar[int]
    GAP_BYTES_FIELD_NUMBER: _ClassVar[int]
    MESSAGE_BYTES_FIELD_NUMBER: _ClassVar[int]
    UNDECODED_BYTES_FIELD_NUMBER: _ClassVar[int]
    GAP_BYTES_OUTSIDE_MESSAGES_FIELD_NUMBER: _ClassVar[int]
    UNDECODED_REASON_FIELD_NUMBER: _ClassVar[int]
    CONFLICTING_BYTES_FIELD_NUMBER: _ClassVar[int]
    payload_bytes: int
    delivered_bytes: int
    retransmitted_bytes: int
    overlapping_bytes: int
    beyond_limits_bytes: int
    gap_bytes: int
    message_bytes: int
    undecoded_bytes: int
    gap_bytes_outside_messages: int
    undecoded_reason: str
    conflicting_bytes: int
    def __init__(self, payload_bytes: _Optional[int] = ..., delivered_bytes: _Optional[int] = ..., retransmitted_bytes: _Optional[int] = ..., overlapping_bytes: _Optional[int] = ..., beyond_limits_bytes: _Optional[int] = ..., gap_bytes: _Optional[int] = ..., message_bytes: _Optional[int] = ..., undecoded_bytes: _Optional[int] = ..., gap_bytes_outside_messages: _Optional[int] = ..., undecoded_reason: _Optional[str] = ..., conflicting_bytes: _Optional[int] = ...) -> None: ...

class HttpExchange(_message.Message):
    __slots__ = ("request", "interim", "response", "violations")
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    INTERIM_FIELD_NUMBER: _ClassVar[int]
    RESPONSE_FIELD_NUMBER: _ClassVar[int]
    VIOLATIONS_FIELD_NUMBER: _ClassVar[int]
    request: HttpRequest
    interim: _containers.RepeatedCompositeFieldContainer[HttpResponse]
    response: HttpResponse
    violations: _containers.RepeatedCompositeFieldContainer[Violation]
    def __init__(self, request: _Optional[_Union[HttpRequest, _Mapping]] = ..., interim: _Optional[_Iterable[_Union[HttpResponse, _Mapping]]] = ..., response: _Optional[_Union[HttpResponse, _Mapping]] = ..., violations: _Optional[_Iterable[_Union[Violation, _Mapping]]] = ...) -> None: ...

class HttpRequest(_message.Message):
    __slots__ = ("version", "method", "target", "scheme", "authority", "fields", "content", "trailers", "first_byte_at_ns", "last_byte_at_ns", "head", "head_gaps")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    METHOD_FIELD_NUMBER: _ClassVar[int]
    TARGET_FIELD_NUMBER: _ClassVar[int]
    SCHEME_FIELD_NUMBER: _ClassVar[int]
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    TRAILERS_FIELD_NUMBER: _ClassVar[int]
    FIRST_BYTE_AT_NS_FIELD_NUMBER: _ClassVar[int]
    LAST_BYTE_AT_NS_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    HEAD_GAPS_FIELD_NUMBER: _ClassVar[int]
    version: str
    method: str
    target: bytes
    scheme: str
    authority: bytes
    fields: _containers.RepeatedCompositeFieldContainer[Field]
    content: Content
    trailers: _containers.RepeatedCompositeFieldContainer[Field]
    first_byte_at_ns: int
    last_byte_at_ns: int
    head: bytes
    head_gaps: _containers.RepeatedCompositeFieldContainer[Gap]
    def __init__(self, version: _Optional[str] = ..., method: _Optional[str] = ..., target: _Optional[bytes] = ..., scheme: _Optional[str] = ..., authority: _Optional[bytes] = ..., fields: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., content: _Optional[_Union[Content, _Mapping]] = ..., trailers: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., first_byte_at_ns: _Optional[int] = ..., last_byte_at_ns: _Optional[int] = ..., head: _Optional[bytes] = ..., head_gaps: _Optional[_Iterable[_Union[Gap, _Mapping]]] = ...) -> None: ...

class HttpResponse(_message.Message):
    __slots__ = ("version", "status", "reason", "fields", "content", "trailers", "first_byte_at_ns", "last_byte_at_ns", "head", "head_gaps")
    VERSION_FIELD_NUMBER: _ClassVar[int]
    STATUS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    FIELDS_FIELD_NUMBER: _ClassVar[int]
    CONTENT_FIELD_NUMBER: _ClassVar[int]
    TRAILERS_FIELD_NUMBER: _ClassVar[int]
    FIRST_BYTE_AT_NS_FIELD_NUMBER: _ClassVar[int]
    LAST_BYTE_AT_NS_FIELD_NUMBER: _ClassVar[int]
    HEAD_FIELD_NUMBER: _ClassVar[int]
    HEAD_GAPS_FIELD_NUMBER: _ClassVar[int]
    version: str
    status: int
    reason: bytes
    fields: _containers.RepeatedCompositeFieldContainer[Field]
    content: Content
    trailers: _containers.RepeatedCompositeFieldContainer[Field]
    first_byte_at_ns: int
    last_byte_at_ns: int
    head: bytes
    head_gaps: _containers.RepeatedCompositeFieldContainer[Gap]
    def __init__(self, version: _Optional[str] = ..., status: _Optional[int] = ..., reason: _Optional[bytes] = ..., fields: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., content: _Optional[_Union[Content, _Mapping]] = ..., trailers: _Optional[_Iterable[_Union[Field, _Mapping]]] = ..., first_byte_at_ns: _Optional[int] = ..., last_byte_at_ns: _Optional[int] = ..., head: _Optional[bytes] = ..., head_gaps: _Optional[_Iterable[_Union[Gap, _Mapping]]] = ...) -> None: ...

class Field(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: bytes
    value: bytes
    def __init__(self, name: _Optional[bytes] = ..., value: _Optional[bytes] = ...) -> None: ...

class Content(_message.Message):
    __slots__ = ("data", "length", "framing", "gaps", "complete", "chunk_lengths")
    class Framing(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        NONE: _ClassVar[Content.Framing]
        LENGTH: _ClassVar[Content.Framing]
        CHUNKED: _ClassVar[Content.Framing]
        CLOSE: _ClassVar[Content.Framing]
    NONE: Content.Framing
    LENGTH: Content.Framing
    CHUNKED: Content.Framing
    CLOSE: Content.Framing
    DATA_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    FRAMING_FIELD_NUMBER: _ClassVar[int]
    GAPS_FIELD_NUMBER: _ClassVar[int]
    COMPLETE_FIELD_NUMBER: _ClassVar[int]
    CHUNK_LENGTHS_FIELD_NUMBER: _ClassVar[int]
    data: bytes
    length: int
    framing: Content.Framing
    gaps: _containers.RepeatedCompositeFieldContainer[Gap]
    complete: bool
    chunk_lengths: _containers.RepeatedScalarFieldContainer[int]
    def __init__(self, data: _Optional[bytes] = ..., length: _Optional[int] = ..., framing: _Optional[_Union[Content.Framing, str]] = ..., gaps: _Optional[_Iterable[_Union[Gap, _Mapping]]] = ..., complete: _Optional[bool] = ..., chunk_lengths: _Optional[_Iterable[int]] = ...) -> None: ...

class Gap(_message.Message):
    __slots__ = ("offset", "length", "reason")
    class Reason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        REASON_UNSPECIFIED: _ClassVar[Gap.Reason]
        LOST: _ClassVar[Gap.Reason]
        SNAPLEN: _ClassVar[Gap.Reason]
        EVICTED: _ClassVar[Gap.Reason]
        LIMIT: _ClassVar[Gap.Reason]
        SENDFILE: _ClassVar[Gap.Reason]
        MIDSTREAM: _ClassVar[Gap.Reason]
        RING_LOST: _ClassVar[Gap.Reason]
        TRUNCATED: _ClassVar[Gap.Reason]
        UNSEEN: _ClassVar[Gap.Reason]
    REASON_UNSPECIFIED: Gap.Reason
    LOST: Gap.Reason
    SNAPLEN: Gap.Reason
    EVICTED: Gap.Reason
    LIMIT: Gap.Reason
    SENDFILE: Gap.Reason
    MIDSTREAM: Gap.Reason
    RING_LOST: Gap.Reason
    TRUNCATED: Gap.Reason
    UNSEEN: Gap.Reason
    OFFSET_FIELD_NUMBER: _ClassVar[int]
    LENGTH_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    offset: int
    length: int
    reason: Gap.Reason
    def __init__(self, offset: _Optional[int] = ..., length: _Optional[int] = ..., reason: _Optional[_Union[Gap.Reason, str]] = ...) -> None: ...

class Violation(_message.Message):
    __slots__ = ("code", "source", "detail", "side")
    class Side(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
        __slots__ = ()
        SIDE_UNSPECIFIED: _ClassVar[Violation.Side]
        REQUEST: _ClassVar[Violation.Side]
        RESPONSE: _ClassVar[Violation.Side]
    SIDE_UNSPECIFIED: Violation.Side
    REQUEST: Violation.Side
    RESPONSE: Violation.Side
    CODE_FIELD_NUMBER: _ClassVar[int]
    SOURCE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    code: str
    source: str
    detail: str
    side: Violation.Side
    def __init__(self, code: _Optional[str] = ..., source: _Optional[str] = ..., detail: _Optional[str] = ..., side: _Optional[_Union[Violation.Side, str]] = ...) -> None: ...
