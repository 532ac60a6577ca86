/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * Connections, from their first call to their end. Where bytes stand in a stream tell the kernel's
 * own sequence numbers, so that none passes unnoticed.
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
	u8 is_told;    /* OPENED found room; before, nothing else is told */
	u8 is_ignored; /* its ports are not among those chosen */
	/* The stream whose ciphertext passes from now on, if any does, and its session (tls.bpf.c). */
	u64 tls;
	u64 session, session_process;
};

INLINE void end_tls(struct connection *connection);

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

INLINE void describe(struct opened *opened, u64 sock)
{
	opened->family = read_u16(sock + AT_SOCK_FAMILY);
	if (opened->family == AF_INET) {
		bpf_probe_read_kernel(opened->local, 4, (void *)sock + AT_SOCK_IPV4_LOCAL);
		bpf_probe_read_kernel(opened->remote, 4, (void *)sock + AT_SOCK_IPV4_REMOTE);
	} else {
		bpf_probe_read_kernel(opened->local, 16, (void *)sock + AT_SOCK_IPV6_LOCAL);
		bpf_probe_read_kernel(opened->remote, 16, (void *)sock + AT_SOCK_IPV6_REMOTE);
	}
	opened->local_port = local_port(sock);
	opened->remote_port = remote_port(sock);
	opened->netns = read_u32(read_u64(sock + AT_SOCK_NET) + AT_NET_NUMBER);
}

INLINE void tell_opened(u64 sock, struct connection *connection)
{
	struct {
		struct event event;
		struct opened opened;
	} news = {};

	begin(&news.event, OPENED, connection->number);
	news.event.captured = sizeof(news.opened);
	describe(&news.opened, sock);
	news.opened.role = connection->role;
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

	if (!connection->is_told || connection->ended[direction])
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

	end_tls(connection);
	/* Of a socket that passed nothing but ciphertext, nobody was told. */
	if (connection->is_told) {
		if (has_sequence(sock) && !connection->tls) {
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
