/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * Plaintext as it passes a TLS library: probes where its functions begin and where they return.
 *
 * A stream is known by (process, session, generation): the session is the place of the library's own
 * object, an SSL of OpenSSL or a gnutls_session_t; a generation ends where it is freed or cleared, or
 * its socket is closed. The socket is that of the system calls within a call of the library. Probes
 * of processes can be preempted, so nothing here is kept by processor.
 */

#if defined(__TARGET_ARCH_arm64) || defined(__aarch64__)
#define PARAMETER_1(registers) ((registers)->regs[0])
#define PARAMETER_2(registers) ((registers)->regs[1])
#define PARAMETER_4(registers) ((registers)->regs[3])
#define RESULT(registers) ((registers)->regs[0])
#define RETURN_ADDRESS_BYTES 0
#else
#define PARAMETER_1(registers) ((registers)->di)
#define PARAMETER_2(registers) ((registers)->si)
#define PARAMETER_4(registers) ((registers)->cx)
#define RESULT(registers) ((registers)->ax)
#define RETURN_ADDRESS_BYTES 8 /* which a return takes off the stack */
#endif

#define MAX_SESSIONS 65536

/* RFC 8446 §5.1 */
#define APPLICATION_DATA 23
#define MAJOR_VERSION 3

struct session {
	u64 place;
	u64 process;
};

struct tls_stream {
	u64 number;
	u64 started;   /* when the process did: another one of that number has other streams */
	u64 passed[2]; /* bytes of either direction: the position of the next one */
	u8 is_new;     /* known since before its first byte */
	u8 is_told;
	u8 is_bound;   /* its socket was told */
	u8 is_ignored; /* the socket's ports are not among those chosen */
};

BPF_TABLE("lru_hash", struct session, struct tls_stream, tls_streams, MAX_SESSIONS);

enum tls_action { TLS_RECEIVE = RECEIVED, TLS_SEND = SENT, TLS_CREATE };

/* A call of the library. */
struct tls_call {
	u64 session;
	u64 buffer;
	u64 place; /* where it puts its result, if it is not what it returns */
	u64 began_ns;
	u64 stack;
	u8 action;
};

/* Of a thread: TLS within TLS is two calls deep; and what is left to tell of one that returned. */
struct tls_thread {
	struct tls_call outer, inner;
	u64 depth;
	struct event event;
	u64 buffer, left;
};

BPF_TABLE("lru_hash", u32, struct tls_thread, tls_threads, 16384);

INLINE u64 process_started(void)
{
	return read_u64(read_u64(bpf_get_current_task() + AT_TASK_LEADER) + AT_TASK_STARTED);
}

INLINE struct tls_stream *tls_stream_of(struct session *session)
{
	struct tls_stream *known = tls_streams.lookup(session);
	u64 started = process_started();

	if (known && known->started == started)
		return known;
	struct tls_stream stream = {
		.started = started,
		/* Numbers of sockets are lower. Who is preempted here goes on at a later time. */
		.number = 1ULL << 62 | bpf_ktime_get_ns() << 8 | (u8)bpf_get_smp_processor_id(),
	};
	stream.number &= ~(1ULL << 63);
	tls_streams.update(session, &stream);
	return tls_streams.lookup(session);
}

INLINE void this_session(struct session *session, u64 place)
{
	session->place = place;
	session->process = bpf_get_current_pid_tgid() >> 32;
}

/* OPENED, with the socket where it is known; again where it becomes known later. */
INLINE int tell_tls_opened(struct tls_stream *stream, u64 sock, struct connection *connection)
{
	struct {
		struct event event;
		struct opened opened;
	} news = {};

	begin(&news.event, OPENED, stream->number);
	news.event.captured = sizeof(news.opened);
	news.event.flags = IS_TLS | (stream->is_new ? IS_NEW : 0);
	if (sock) {
		news.event.position = connection->number;
		if (connection->is_ignored)
			news.event.flags |= IS_OF_OTHER_PORT;
		describe(&news.opened, sock);
		news.opened.role = connection->role;
	}
	news.opened.cgroup = bpf_get_current_cgroup_id();
	bpf_get_current_comm(news.opened.command, sizeof(news.opened.command));
	return tell(&news.event, sizeof(news.opened));
}

INLINE void tell_tls_closed(struct tls_stream *stream)
{
	struct {
		struct event event;
		struct closed closed;
	} news = {};

	if (!stream->is_told)
		return;
	begin(&news.event, CLOSED, stream->number);
	news.event.captured = sizeof(news.closed);
	news.event.flags = IS_TLS;
	news.closed.passed[RECEIVED] = stream->passed[RECEIVED];
	news.closed.passed[SENT] = stream->passed[SENT];
	tell(&news.event, sizeof(news.closed));
}

/* -- sockets */

/* Where the first byte of a call lies. */
INLINE u64 first_byte(struct arguments *arguments)
{
	struct piece piece = {.base = arguments->value[1]};

	switch (arguments->number) {
	case __NR_recvmsg:
	case __NR_sendmsg:
		bpf_probe_read_user(&piece, sizeof(piece),
				    (void *)arguments->value[1] + AT_MESSAGE_VECTOR);
		/* fall through */
	case __NR_readv:
	case __NR_writev:
	case __NR_preadv2:
	case __NR_pwritev2:
		bpf_probe_read_user(&piece, sizeof(piece), (void *)piece.base);
	}
	return piece.base;
}

/* Sockets of which user space knows that their bytes are told as plaintext, by their numbers; each has
 * one place, and may lose it to another: user space does without them as well. */
BPF_F_TABLE("array", int, u64, carriers, MAX_CONNECTIONS, BPF_F_MMAPABLE);

/* In place of a stream's number, where user space alone knows it. */
#define SOME_STREAM 1

INLINE int is_known_to_carry(struct connection *connection)
{
	int place = (connection->number ^ connection->number >> 36) % MAX_CONNECTIONS;
	u64 *number;

	if (connection->tls)
		return 1;
	number = carriers.lookup(&place);
	if (!number || *number != connection->number)
		return 0;
	connection->tls = SOME_STREAM;
	return 1;
}

/* Whether a call passes what is seen as plaintext too: within a call of the library, from the first
 * record with the application's own data on. */
INLINE int is_ciphertext(struct connection *connection, struct call *call,
			 struct arguments *arguments)
{
	u32 thread = bpf_get_current_pid_tgid();
	struct tls_thread *state = tls_threads.lookup(&thread);
	u8 header[2] = {};
	struct session session;

	if (!state || !state->depth)
		return is_known_to_carry(connection);
	this_session(&session, state->depth > 1 ? state->inner.session : state->outer.session);
	struct tls_stream *stream = tls_streams.lookup(&session);
	if (stream && stream->number == connection->tls)
		return 1;
	bpf_probe_read_user(header, sizeof(header), (void *)first_byte(arguments));
	/* With TLS in the kernel, plaintext passes. */
	if ((header[0] != APPLICATION_DATA || header[1] != MAJOR_VERSION) &&
	    !read_u64(call->sock + AT_TCP_ULP))
		return connection->tls != 0;
	stream = tls_stream_of(&session);
	if (!stream)
		return 0;
	stream->is_ignored = connection->is_ignored;
	if (!stream->is_ignored || stream->is_told) {
		if (!tell_tls_opened(stream, call->sock, connection))
			return 0;
		stream->is_told = 1;
	}
	stream->is_bound = 1;
	connection->tls = stream->number;
	connection->session = session.place;
	connection->session_process = session.process;
	return 1;
}

/* The socket of a stream is closed. */
INLINE void end_tls(struct connection *connection)
{
	struct session session = {
		.place = connection->session,
		.process = connection->session_process,
	};
	struct tls_stream *stream;

	if (!connection->tls)
		return;
	stream = tls_streams.lookup(&session);
	if (stream && stream->number == connection->tls) {
		tell_tls_closed(stream);
		tls_streams.delete(&session);
	}
}

/* -- calls of the library */

INLINE int tls_enter(struct pt_regs *registers, u8 action, u64 place)
{
	struct tls_call call = {
		.session = PARAMETER_1(registers),
		.buffer = PARAMETER_2(registers),
		.place = place,
		.stack = registers->sp,
		.action = action,
	};
	u32 thread = bpf_get_current_pid_tgid();

	if (!is_chosen())
		return 0;
	call.began_ns = bpf_ktime_get_ns();
	struct tls_thread *state = tls_threads.lookup(&thread);
	if (!state) {
		struct tls_thread none = {};

		tls_threads.update(&thread, &none);
		state = tls_threads.lookup(&thread);
		if (!state)
			return 0;
	}
	/* A call lies below that around it; what does not is over, or is the same one seen twice. */
	if (state->depth && call.stack < state->outer.stack) {
		state->inner = call;
		state->depth = 2;
	} else {
		state->outer = call;
		state->depth = 1;
	}
	return 0;
}

int tls_receive(struct pt_regs *registers)
{
	return tls_enter(registers, TLS_RECEIVE, 0);
}

int tls_receive_ex(struct pt_regs *registers)
{
	return tls_enter(registers, TLS_RECEIVE, PARAMETER_4(registers));
}

int tls_send(struct pt_regs *registers)
{
	return tls_enter(registers, TLS_SEND, 0);
}

int tls_send_ex(struct pt_regs *registers)
{
	return tls_enter(registers, TLS_SEND, PARAMETER_4(registers));
}

int tls_create(struct pt_regs *registers)
{
	return tls_enter(registers, TLS_CREATE, PARAMETER_1(registers));
}

INLINE void created(u64 place)
{
	struct session session;

	this_session(&session, place);
	tls_streams.delete(&session);
	struct tls_stream *stream = tls_stream_of(&session);
	if (stream)
		stream->is_new = 1;
}

INLINE void over(u64 place)
{
	struct session session;

	this_session(&session, place);
	struct tls_stream *stream = tls_streams.lookup(&session);
	if (!stream)
		return;
	if (stream->started == process_started())
		tell_tls_closed(stream);
	tls_streams.delete(&session);
}

int tls_end(struct pt_regs *registers)
{
	if (is_chosen())
		over(PARAMETER_1(registers));
	return 0;
}

/* The session begins anew. */
int tls_cleared(struct pt_regs *registers)
{
	if (!is_chosen())
		return 0;
	over(PARAMETER_1(registers));
	created(PARAMETER_1(registers));
	return 0;
}

/* A function that returns a new session has returned. */
int tls_created(struct pt_regs *registers)
{
	if (is_chosen() && RESULT(registers))
		created(RESULT(registers));
	return 0;
}

/* Tells of a part of what is left, in a record with room for so many bytes; whether there was any. */
INLINE int tell_part(struct tls_thread *state, u64 room, u64 size)
{
	struct event *event = NULL;

	if (!is_full())
		event = bpf_ringbuf_reserve(RING, sizeof(*event) + room, 0);
	if (!event) {
		count(LOST_EVENTS, 1);
		count(LOST_BYTES, state->left);
		state->left = 0;
		return 0;
	}
	*event = state->event;
	event->captured = size;
	event->length = size;
	FORGET(size);
	if (size > room)
		size = room;
	if (bpf_probe_read_user(event + 1, size, (void *)state->buffer)) {
		event->kind = HOLE;
		event->reason = TRUNCATED;
		event->captured = 0;
	}
	bpf_ringbuf_submit(event, BPF_RB_NO_WAKEUP);
	state->event.position += size;
	state->buffer += size;
	state->left -= size;
	return 1;
}

BPF_TABLE("prog", int, int, tls_continuations, 1);

#define MAX_CHUNKS 32

/* Tells of what is left of a call. */
int tell_plaintext(struct pt_regs *registers)
{
	u32 thread = bpf_get_current_pid_tgid();
	struct tls_thread *state = tls_threads.lookup(&thread);

	if (!state)
		return 0;
#pragma clang loop unroll(disable)
	for (int n = 0; n < MAX_CHUNKS; n++) {
		if (state->left < CHUNK)
			break;
		if (!tell_part(state, CHUNK, CHUNK))
			return 0;
	}
	if (state->left >= CHUNK) {
		tls_continuations.call(registers, 0);
		return 0;
	}
	if (state->left > 16 << 10)
		tell_part(state, CHUNK, state->left);
	else if (state->left > 4 << 10)
		tell_part(state, 16 << 10, state->left);
	else if (state->left > 1 << 10)
		tell_part(state, 4 << 10, state->left);
	else if (state->left > 256)
		tell_part(state, 1 << 10, state->left);
	else if (state->left)
		tell_part(state, 256, state->left);
	return 0;
}

/* How many bytes a call passed. */
INLINE u64 passed_by(struct tls_call *call, s64 result)
{
	u64 length = 0;

	if (result <= 0)
		return 0;
	if (!call->place)
		return result;
	bpf_probe_read_user(&length, sizeof(length), (void *)call->place);
	return length;
}

int tls_return(struct pt_regs *registers)
{
	u32 thread = bpf_get_current_pid_tgid();
	struct tls_thread *state = tls_threads.lookup(&thread);
	u64 stack = registers->sp - RETURN_ADDRESS_BYTES;
	s64 result = (s32)RESULT(registers);
	struct session session;
	struct tls_call call;

	if (!state || !state->depth)
		return 0;
	if (state->depth > 1 && state->inner.stack == stack) {
		call = state->inner;
		state->depth = 1;
	} else if (state->outer.stack == stack) {
		call = state->outer;
		state->depth = 0;
	} else {
		return 0;
	}
	if (call.action == TLS_CREATE) {
		u64 place = 0;

		bpf_probe_read_user(&place, sizeof(place), (void *)call.place);
		if (!result && place)
			created(place);
		return 0;
	}
	u64 length = passed_by(&call, result);
	if (!length)
		return 0;
	this_session(&session, call.session);
	struct tls_stream *stream = tls_stream_of(&session);
	if (!stream || stream->is_ignored)
		return 0;
	u8 direction = call.action & 1;
	begin(&state->event, DATA, stream->number);
	state->event.flags = IS_TLS;
	state->event.direction = direction;
	state->event.position = stream->passed[direction];
	if (direction == SENT)
		state->event.at_ns = call.began_ns;
	stream->passed[direction] += length;
	if (!stream->is_told)
		stream->is_told = tell_tls_opened(stream, 0, NULL);
	if (!stream->is_told) {
		count(LOST_BYTES, length);
		return 0;
	}
	state->buffer = call.buffer;
	state->left = length;
	tls_continuations.call(registers, 0);
	return 0;
}
