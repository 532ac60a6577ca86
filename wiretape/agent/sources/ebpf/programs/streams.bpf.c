/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * The bytes that a call transferred: where they stand in the stream, and in the process's memory.
 */

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
