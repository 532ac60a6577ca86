/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * System calls begin and end.
 */

#define EINTR 4
#define EAGAIN 11
#define EPIPE 32
#define ECONNABORTED 103
#define ECONNRESET 104
#define ETIMEDOUT 110
#define EHOSTUNREACH 113
#define EINPROGRESS 115
#define ERESTARTSYS 512

#define SHUT_RD 0
#define SHUT_WR 1
#define SHUT_RDWR 2

enum action { NOTHING, RECEIVE, SEND, SPLICE, CONNECT, SHUTDOWN, ACCEPT, USE_RING };

INLINE enum action action_of(int number)
{
	switch (number) {
	case __NR_read:
	case __NR_readv:
	case __NR_preadv2:
	case __NR_recvfrom:
	case __NR_recvmsg:
	case __NR_recvmmsg:
		return RECEIVE;
	case __NR_write:
	case __NR_writev:
	case __NR_pwritev2:
	case __NR_sendto:
	case __NR_sendmsg:
	case __NR_sendmmsg:
	case __NR_sendfile:
		return SEND;
	case __NR_splice:
		return SPLICE;
	case __NR_connect:
		return CONNECT;
	case __NR_shutdown:
		return SHUTDOWN;
	case __NR_accept:
	case __NR_accept4:
		return ACCEPT;
	case __NR_io_uring_setup:
	case __NR_io_uring_enter:
		return USE_RING;
	default:
		return NOTHING;
	}
}

/* Which socket a call is about, and where its stream stands. */
INLINE void look(struct call *call, u32 descriptor, u8 direction)
{
	struct tcp tcp;

	if (!find_tcp(descriptor, &tcp))
		return;
	call->sock = tcp.sock;
	call->direction = direction;
	call->is_plain = tcp.protocol == IPPROTO_TCP && has_sequence(tcp.sock);
	/* What came before both ends were closed can still be read. */
	call->has_start = tcp.state != TCP_SYN_SENT && tcp.state != TCP_SYN_RECV &&
			  (tcp.state != TCP_CLOSE || direction == RECEIVED);
	call->start = sequence(tcp.sock, direction);
}

INLINE void look_at(struct call *call, enum action action, struct arguments *arguments)
{
	call->number = arguments->number;
	call->began_ns = bpf_ktime_get_ns();
	if (action == SPLICE) {
		look(call, arguments->value[2], SENT);
		if (call->sock)
			return;
	}
	u8 is_sent = action != RECEIVE && action != SPLICE;
	look(call, arguments->value[0], is_sent ? SENT : RECEIVED);
}

/* arguments: the registers, the call's number */
int sys_enter(struct bpf_raw_tracepoint_args *context)
{
	enum action action = action_of(context->args[1]);
	struct arguments arguments;
	struct call call = {};

	if (action == NOTHING || action == ACCEPT || !is_chosen())
		return 0;
	if (is_32_bit()) {
		notice(IS_32_BIT);
		return 0;
	}
	if (action == USE_RING) {
		notice(USES_IO_URING);
		return 0;
	}
	read_arguments((struct pt_regs *)context->args[0], &arguments);
	look_at(&call, action, &arguments);
	/* In place, where the thread has made a call before: that is twice as fast. */
	u32 thread = bpf_get_current_pid_tgid();
	struct call *place = calls.lookup(&thread);
	if (place)
		*place = call;
	else if (call.sock)
		calls.update(&thread, &call);
	return 0;
}

/* The end of a stream, or what ends it. */
INLINE void received_none(struct connection *connection, u64 sock, s64 result)
{
	switch (result) {
	case 0:
		/* Who asks for no bytes gets none. */
		if (read_u8(sock + AT_SOCK_SHUTDOWN) & RCV_SHUTDOWN) {
			connection->has_fin[RECEIVED] = 1;
			tell_ended(connection, RECEIVED, 0);
		}
		break;
	case -ECONNRESET:
	case -ETIMEDOUT:
	case -EHOSTUNREACH:
	case -EPIPE:
		tell_ended(connection, RECEIVED, -result);
	}
}

/* arguments: the registers, the result */
int sys_exit(struct bpf_raw_tracepoint_args *context)
{
	s64 result = context->args[1];
	struct arguments arguments;
	struct call call = {};
	u8 role = OPEN_BEFORE;

	read_arguments((struct pt_regs *)context->args[0], &arguments);
	int number = arguments.number;
	enum action action = action_of(number);
	if (action == NOTHING || action == USE_RING || !is_chosen())
		return 0;
	u32 thread = bpf_get_current_pid_tgid();
	struct call *place = calls.lookup(&thread);
	if (place && place->number == number) {
		call = *place;
		place->number = NO_CALL;
	} else if (is_32_bit()) {
		return 0;
	} else if (action == ACCEPT) {
		if (result >= 0)
			look(&call, result, SENT);
		role = ACCEPTED;
	} else {
		/* It began before we did. */
		look_at(&call, action, &arguments);
		call.has_start = 0;
	}
	if (action == CONNECT) {
		if (result && result != -EINPROGRESS && result != -EINTR && result != -ERESTARTSYS)
			return 0;
		role = CONNECTED;
	}
	if (!call.sock)
		return 0;
	int has_bytes = action == RECEIVE || action == SEND || action == SPLICE;
	if (has_bytes && flags_of(number, &arguments) & (MSG_PEEK | MSG_OOB | MSG_ERRQUEUE))
		return 0;
	if (has_bytes && result <= 0) {
		struct connection *known = connections.lookup(&call.sock);

		if (known && action == RECEIVE)
			received_none(known, call.sock, result);
		return 0;
	}
	if (action == SHUTDOWN) {
		struct connection *known = connections.lookup(&call.sock);

		if (!known || result)
			return 0;
		if (arguments.value[1] != SHUT_WR)
			tell_ended(known, RECEIVED, 0);
		if (arguments.value[1] != SHUT_RD) {
			known->has_fin[SENT] = 1;
			tell_ended(known, SENT, 0);
		}
		return 0;
	}
	struct connection *connection = connection_of(call.sock, role);
	if (!connection) {
		if (has_bytes)
			count(UNTRACKED_BYTES, result);
		return 0;
	}
	int is_told_as_plaintext = has_bytes && is_ciphertext(connection, &call, &arguments);
	if (connection->is_ignored || is_told_as_plaintext)
		return 0;
	u64 length = has_bytes ? length_of(number, &arguments, result) : 0;
	if (!connection->is_told) {
		set_bases(&call, connection, length);
		tell_opened(call.sock, connection);
		if (!connection->is_told) {
			connection->passed[call.direction & 1] += length;
			count(LOST_BYTES, length);
			return 0;
		}
	}
	if (has_bytes && transferred(connection, &call, &arguments, result, length))
		continuations.call(context, 0);
	return 0;
}

/* argument: the task_struct that ends, perhaps in the middle of a call */
int sched_process_exit(struct bpf_raw_tracepoint_args *context)
{
	u64 who = bpf_get_current_pid_tgid();
	u32 thread = who, process = who >> 32;

	calls.delete(&thread);
#if SELECT_PROCESSES
	/* The last of its threads. */
	if (!read_u32(read_u64(context->args[0] + AT_TASK_SIGNAL) + AT_SIGNAL_LIVE))
		processes.delete(&process);
#endif
	return 0;
}
