/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * What passes TCP sockets by system calls. When a call begins, the socket and its sequence number
 * are noted; when it ends, its bytes are read from the process's memory. Where its first byte stands
 * in the stream tells the kernel's own sequence number, so that nothing passes unnoticed.
 */

enum role { OPEN_BEFORE, ACCEPTED, CONNECTED };

struct connection {
	u64 number;
	u64 passed[2]; /* bytes of either direction: the position of the next one */
	u32 base[2];   /* the sequence number of position 0 */
	u8 has_base[2];
	u8 ended[2];   /* ENDED was told */
	u8 has_fin[2]; /* the stream's end was read, or written: it has a sequence number too */
	u8 role;
	u8 is_told;    /* OPENED found room */
	u8 is_ignored; /* its ports are not among those chosen */
};

BPF_HASH(connections, u64, struct connection, MAX_CONNECTIONS);
#if SELECT_PORTS
BPF_HASH(ports, u16, u8, SELECT_PORTS);
#endif
BPF_ARRAY(numbering, u64, PROCESSORS);

/* Calls that have not ended, by thread. */
struct call {
	u64 sock; /* 0: of no concern */
	u64 began_ns;
	u32 start; /* the sequence number then */
	s16 number;
	u8 direction;
	u8 is_plain;  /* has_sequence */
	u8 has_start;
};

#define NO_CALL -1

BPF_TABLE("lru_hash", u32, struct call, calls, 32768);

#define RCV_SHUTDOWN 1

/* -- connections */

INLINE u16 local_port(u64 sock)
{
	return read_u16(sock + AT_SOCK_LOCAL_PORT);
}

INLINE u16 remote_port(u64 sock)
{
	return __builtin_bswap16(read_u16(sock + AT_SOCK_REMOTE_PORT));
}

INLINE int is_port_chosen(u64 sock)
{
#if SELECT_PORTS
	u16 local = local_port(sock), remote = remote_port(sock);

	return ports.lookup(&local) || ports.lookup(&remote);
#else
	return 1;
#endif
}

INLINE void tell_opened(u64 sock, struct connection *connection)
{
	struct {
		struct event event;
		struct opened opened;
	} news = {};

	begin(&news.event, OPENED, connection->number);
	news.event.captured = sizeof(news.opened);
	news.opened.family = read_u16(sock + AT_SOCK_FAMILY);
	if (news.opened.family == AF_INET) {
		bpf_probe_read_kernel(news.opened.local, 4, (void *)sock + AT_SOCK_IPV4_LOCAL);
		bpf_probe_read_kernel(news.opened.remote, 4, (void *)sock + AT_SOCK_IPV4_REMOTE);
	} else {
		bpf_probe_read_kernel(news.opened.local, 16, (void *)sock + AT_SOCK_IPV6_LOCAL);
		bpf_probe_read_kernel(news.opened.remote, 16, (void *)sock + AT_SOCK_IPV6_REMOTE);
	}
	news.opened.local_port = local_port(sock);
	news.opened.remote_port = remote_port(sock);
	news.opened.role = connection->role;
	news.opened.netns = read_u32(read_u64(sock + AT_SOCK_NET) + AT_NET_NUMBER);
	news.opened.cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(news.opened.command, sizeof(news.opened.command));
	if (connection->role == OPEN_BEFORE && has_sequence(sock)) {
		s32 unread = read_u32(sock + AT_TCP_RCV_NXT) - connection->base[RECEIVED];
		s32 unacknowledged = connection->base[SENT] - read_u32(sock + AT_TCP_SND_UNA);

		news.opened.before[RECEIVED] = read_u64(sock + AT_TCP_BYTES_RECEIVED) - unread;
		news.opened.before[SENT] = read_u64(sock + AT_TCP_BYTES_ACKED) + unacknowledged;
	}
	connection->is_told = tell(&news.event, sizeof(news.opened));
}

/* The connection of a socket; a new one where it is not known yet, NULL where there is no room. */
INLINE struct connection *connection_of(u64 sock, u8 role)
{
	struct connection *known = connections.lookup(&sock);

	if (known)
		return known;
	int processor = bpf_get_smp_processor_id();
	u64 *number = numbering.lookup(&processor);
	if (!number)
		return NULL;
	struct connection connection = {
		.role = role,
		.is_ignored = !is_port_chosen(sock),
		.number = (u64)processor << 40 | ++*number,
	};
	connections.update(&sock, &connection);
	known = connections.lookup(&sock);
	if (!known)
		count(UNTRACKED_CONNECTIONS, 1);
	return known;
}

INLINE void set_base(struct connection *connection, u8 direction, u32 base)
{
	if (connection->has_base[direction])
		return;
	connection->base[direction] = base;
	connection->has_base[direction] = 1;
}

/* Position 0 is where either stream stands now, or stood before the call that transferred so many
 * bytes, as far as that is known. */
INLINE void set_bases(struct call *call, struct connection *connection, u64 length)
{
	u8 state = read_u8(call->sock + AT_SOCK_STATE);

	if (!call->is_plain || state == TCP_CLOSE)
		return;
	if (length && call->has_start)
		set_base(connection, call->direction & 1, call->start);
	else if (length)
		set_base(connection, call->direction & 1,
			 sequence(call->sock, call->direction) - length);
	set_base(connection, SENT, sequence(call->sock, SENT));
	if (state != TCP_SYN_SENT)
		set_base(connection, RECEIVED, sequence(call->sock, RECEIVED));
}

INLINE void tell_hole(struct event *event, u64 length, u8 reason)
{
	event->kind = HOLE;
	event->reason = reason;
	event->captured = 0;
	event->length = length;
	tell(event, 0);
}

INLINE void tell_ended(struct connection *connection, u8 direction, u32 error)
{
	struct event event;

	if (connection->is_ignored || connection->ended[direction])
		return;
	connection->ended[direction] = 1;
	begin(&event, ENDED, connection->number);
	event.direction = direction;
	event.position = connection->passed[direction];
	event.length = error;
	tell(&event, 0);
}

/* What passed by other ways until the end: the kernel counted more than we. */
INLINE void tell_bypassed(u64 sock, struct connection *connection, u8 direction)
{
	struct event event;

	if (!connection->has_base[direction])
		return;
	s32 more = sequence(sock, direction) - connection->base[direction] -
		   (u32)connection->passed[direction] - connection->has_fin[direction];
	if (more <= 0)
		return;
	begin(&event, HOLE, connection->number);
	event.direction = direction;
	event.position = connection->passed[direction];
	connection->passed[direction] += more;
	tell_hole(&event, more, BYPASSED);
}

INLINE void tell_closed(u64 sock, struct connection *connection)
{
	struct {
		struct event event;
		struct closed closed;
	} news = {};

	if (!connection->is_ignored) {
		if (has_sequence(sock)) {
			tell_bypassed(sock, connection, RECEIVED);
			tell_bypassed(sock, connection, SENT);
		}
		begin(&news.event, CLOSED, connection->number);
		news.event.captured = sizeof(news.closed);
		news.closed.passed[RECEIVED] = connection->passed[RECEIVED];
		news.closed.passed[SENT] = connection->passed[SENT];
		tell(&news.event, sizeof(news.closed));
	}
	connections.delete(&sock);
}

/* arguments: the `struct sock`, the state before, the state now */
int inet_sock_set_state(struct bpf_raw_tracepoint_args *context)
{
	u64 sock = context->args[0];
	int state = context->args[2];
	struct connection *connection = connections.lookup(&sock);

	if (!connection)
		return 0;
	if (state == TCP_SYN_SENT) {
		tell_closed(sock, connection); /* connects anew: the time before failed */
	} else if (state == TCP_FIN_WAIT1 || state == TCP_LAST_ACK) {
		/* By shutdown, or the last descriptor is closed, by whatever call or death. */
		u32 thread = bpf_get_current_pid_tgid();
		struct call *call = calls.lookup(&thread);

		if (!call || call->number != __NR_shutdown || call->sock != sock)
			tell_closed(sock, connection);
	} else if (state == TCP_CLOSE) {
		u32 error = read_u32(sock + AT_SOCK_ERROR);

		/* What had come before a reset can still be read. */
		if (error)
			tell_ended(connection, SENT, error);
	}
	return 0;
}

/* argument: the `struct sock`, which nobody has any more */
int tcp_destroy_sock(struct bpf_raw_tracepoint_args *context)
{
	u64 sock = context->args[0];
	struct connection *connection = connections.lookup(&sock);

	if (connection)
		tell_closed(sock, connection);
	return 0;
}

/* -- the bytes of a call */

/* Steps of one program, each of a piece or a chunk; 33 programs follow one another at most. That is
 * more than a call has pieces (IOV_MAX). */
#define MAX_STEPS 128

struct piece {
	u64 base, length;
};

/* Where a struct user_msghdr has its pieces, and a struct mmsghdr the length of its message. */
#define AT_MESSAGE_VECTOR 16
#define AT_MESSAGE_LENGTH 56
#define MESSAGE_STEP 64

/* Sends what is in the draft; whether there was room. */
INLINE int flush(struct draft *draft)
{
	u64 filled = draft->filled;

	draft->must_flush = 0;
	FORGET(filled);
	if (!filled || filled > CHUNK)
		return 1;
	draft->event.kind = DATA;
	draft->event.reason = 0;
	draft->event.captured = filled;
	draft->event.length = filled;
	if (is_full() || bpf_ringbuf_output(RING, &draft->event, sizeof(draft->event) + filled,
					    BPF_RB_NO_WAKEUP)) {
		count(LOST_EVENTS, 1);
		count(LOST_BYTES, filled + draft->left);
		draft->left = 0;
		draft->filled = 0;
		return 0;
	}
	draft->event.position += filled;
	draft->filled = 0;
	return 1;
}

INLINE void next_message(struct draft *draft)
{
	struct piece vector = {};
	u32 length = 0;

	bpf_probe_read_user(&vector, sizeof(vector), (void *)draft->message + AT_MESSAGE_VECTOR);
	bpf_probe_read_user(&length, sizeof(length), (void *)draft->message + AT_MESSAGE_LENGTH);
	draft->vector = vector.base;
	draft->vectors_left = vector.length;
	draft->piece_left = 0;
	draft->message_left = length;
	draft->message += MESSAGE_STEP;
	draft->messages_left--;
}

INLINE void next_piece(struct draft *draft)
{
	struct piece piece = {};

	bpf_probe_read_user(&piece, sizeof(piece), (void *)draft->vector);
	draft->piece = piece.base;
	draft->piece_left = piece.length;
	draft->vector += sizeof(piece);
	draft->vectors_left--;
}

INLINE u64 least(u64 a, u64 b)
{
	return a < b ? a : b;
}

/* Moves on by what could be read, or not. */
INLINE void pass(struct draft *draft, u64 size)
{
	draft->piece += size;
	draft->piece_left -= size;
	draft->message_left -= size;
	draft->left -= size;
}

BPF_TABLE("prog", int, int, continuations, 1);

/* Sends `left` bytes, from where the draft tells that they lie. */
int tell_data(struct bpf_raw_tracepoint_args *context)
{
	struct draft *draft = current_draft();

	if (!draft)
		return 0;
#pragma clang loop unroll(disable)
	for (int step = 0; step < MAX_STEPS; step++) {
		if (!draft->left)
			break;
		if ((draft->must_flush || draft->filled >= CHUNK) && !flush(draft))
			return 0;
		if (!draft->message_left) {
			if (!draft->messages_left)
				break;
			next_message(draft);
			continue;
		}
		if (!draft->piece_left) {
			if (!draft->vectors_left)
				break;
			next_piece(draft);
			if (!draft->piece_left)
				continue;
		}
		u64 filled = draft->filled;
		FORGET(filled);
		if (filled >= CHUNK)
			return 0;
		u64 most = least(draft->piece_left, draft->message_left);
		u64 size = least(least(most, draft->left), CHUNK - filled);
		FORGET(size);
		if (!size || size > CHUNK)
			return 0;
		if (!bpf_probe_read_user(draft->payload + filled, size, (void *)draft->piece)) {
			draft->filled = filled + size;
			pass(draft, size);
		} else if (filled) {
			draft->must_flush = 1;
		} else {
			tell_hole(&draft->event, size, TRUNCATED);
			draft->event.position += size;
			pass(draft, size);
		}
	}
	if (draft->left && (draft->message_left || draft->messages_left))
		continuations.call(context, 0);
	if (flush(draft) && draft->left)
		tell_hole(&draft->event, draft->left, TRUNCATED);
	return 0;
}

#define MSG_OOB 0x1
#define MSG_PEEK 0x2
#define MSG_TRUNC 0x20
#define MSG_ERRQUEUE 0x2000

INLINE u32 flags_of(int number, struct arguments *arguments)
{
	switch (number) {
	case __NR_recvfrom:
	case __NR_recvmmsg:
		return arguments->value[3];
	case __NR_recvmsg:
		return arguments->value[2];
	default:
		return 0;
	}
}

/* Where the bytes of a call lie; 0 where they are in no memory of the process. */
INLINE int find_bytes(struct draft *draft, int number, struct arguments *arguments, u64 result)
{
	struct piece vector = {};

	draft->filled = 0;
	draft->must_flush = 0;
	draft->messages_left = 0;
	draft->vectors_left = 0;
	draft->piece_left = 0;
	draft->message_left = draft->left;
	switch (number) {
	case __NR_sendfile:
	case __NR_splice:
		return 0;
	case __NR_readv:
	case __NR_writev:
	case __NR_preadv2:
	case __NR_pwritev2:
		draft->vector = arguments->value[1];
		draft->vectors_left = arguments->value[2];
		return 1;
	case __NR_recvmsg:
	case __NR_sendmsg:
		bpf_probe_read_user(&vector, sizeof(vector),
				    (void *)arguments->value[1] + AT_MESSAGE_VECTOR);
		draft->vector = vector.base;
		draft->vectors_left = vector.length;
		return 1;
	case __NR_recvmmsg:
	case __NR_sendmmsg:
		draft->message = arguments->value[1];
		draft->messages_left = result;
		draft->message_left = 0;
		return 1;
	default:
		draft->piece = arguments->value[1];
		draft->piece_left = draft->left;
		return 1;
	}
}

/* Messages of one call whose lengths are added up. */
#define MAX_MESSAGES 64

/* How many bytes a call transferred; 0 of more messages than are counted. */
INLINE u64 length_of(int number, struct arguments *arguments, u64 result)
{
	u64 sum = 0;

	if (number != __NR_recvmmsg && number != __NR_sendmmsg)
		return result;
	if (result > MAX_MESSAGES)
		return 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < MAX_MESSAGES; n++) {
		u32 length = 0;

		if (n >= result)
			break;
		bpf_probe_read_user(&length, sizeof(length), (void *)arguments->value[1] +
							     n * MESSAGE_STEP + AT_MESSAGE_LENGTH);
		sum += length;
	}
	return sum;
}

/* A call has transferred so many bytes, its result. Whether `tell_data` is to follow. */
INLINE int transferred(struct connection *connection, struct call *call,
		       struct arguments *arguments, u64 result, u64 length)
{
	u8 direction = call->direction & 1;
	u64 passed = connection->passed[direction];
	u64 position = passed;
	int is_clear = 1;
	struct draft *draft = current_draft();

	if (!draft)
		return 0;
	if (call->is_plain) {
		u32 end = sequence(call->sock, direction);

		if (direction == RECEIVED && call->has_start &&
		    end - call->start == (u32)length + 1 &&
		    read_u8(call->sock + AT_SOCK_SHUTDOWN) & RCV_SHUTDOWN) {
			connection->has_fin[RECEIVED] = 1; /* it came with the last bytes */
			end--;
		}
		if (!call->has_start)
			call->start = end - length;
		if (!length)
			length = end - call->start;
		set_base(connection, direction, call->start);
		/* The sequence number, without its wraps. */
		position = passed + (s32)(call->start - connection->base[direction] - (u32)passed);
		/* Others have read or written meanwhile: what is whose? */
		is_clear = end - call->start == (u32)length && (s64)(position - passed) >= 0;
		length = end - call->start;
	}
	begin(&draft->event, DATA, connection->number);
	draft->event.direction = direction;
	draft->event.position = passed;
	if (direction == SENT)
		draft->event.at_ns = call->began_ns;
	if (!is_clear) {
		s64 more = position + length - passed;

		if (more > 0) {
			connection->passed[direction] = passed + more;
			tell_hole(&draft->event, more, INTERLEAVED);
		}
		return 0;
	}
	if (position > passed)
		tell_hole(&draft->event, position - passed, BYPASSED);
	draft->event.position = position;
	connection->passed[direction] = position + length;
	draft->left = length;
	if (!find_bytes(draft, call->number, arguments, result))
		tell_hole(&draft->event, length, SENDFILE);
	else if (flags_of(call->number, arguments) & MSG_TRUNC)
		tell_hole(&draft->event, length, TRUNCATED);
	else
		return 1;
	return 0;
}
