/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * What user space is told, through a ring that it maps (events.py decodes it in place).
 */

enum kind {
	OPENED = 1, /* the connection becomes known; struct opened follows */
	DATA = 2,   /* bytes of a stream, which follow */
	HOLE = 3,   /* bytes of a stream that passed, and were not seen */
	ENDED = 4,  /* a direction; `length` is the error number, 0 for an orderly end */
	CLOSED = 5, /* the connection, for the application; struct closed follows */
	NOTICE = 6, /* `reason` befell this process */
};

enum reason {
	SENDFILE = 1,    /* HOLE: the kernel moved them from a file or a pipe, or to one */
	TRUNCATED = 2,   /* HOLE: no room in one call, or memory that could not be read */
	BYPASSED = 3,    /* HOLE: they went another way than the calls looked at: io_uring, … */
	INTERLEAVED = 4, /* HOLE: of calls at the same time, which no order can be told of */
	USES_IO_URING = 5,
	IS_32_BIT = 6,
};

enum flags {
	IS_TLS = 1,           /* of a stream of TLS, whose plaintext it is */
	IS_NEW = 2,           /* OPENED: known since before its first byte */
	IS_OF_OTHER_PORT = 4, /* OPENED: the socket's ports are not among those chosen */
};

struct event {
	u8 kind;
	u8 direction;
	u8 reason;
	u8 flags;
	u32 captured; /* bytes that follow */
	u64 connection;
	u64 position; /* of the first byte, in the stream */
	u64 length;   /* in the stream */
	u64 at_ns;    /* SENT: when the call began; RECEIVED: when it ended */
	u64 ended_ns; /* when the call ended */
	u32 process;
	u32 thread;
};

struct opened {
	u8 local[16], remote[16]; /* of IPv4 the first four bytes */
	u16 local_port, remote_port;
	u16 family;
	u8 role;
	u8 unused;
	u32 netns;
	u32 unused2;
	u64 cgroup;
	u64 before[2]; /* bytes that had passed before the connection was known */
	char command[16];
};

struct closed {
	u64 passed[2]; /* bytes: where either stream ends */
};

#define CHUNK (64 << 10)

/* Where data are put together: bigger than a stack, and one for each processor, because the end of a
 * system call is not interrupted by that of another. */
struct draft {
	struct event event;
	/* Half of it is used; the verifier sees that it is not left from the sum of two bounds. */
	u8 payload[2 * CHUNK];
	/* What is left of a call's bytes, in the process's memory (streams.bpf.c). */
	u64 left;
	u64 message, messages_left, message_left;
	u64 vector, vectors_left;
	u64 piece, piece_left;
	u32 filled;
	u32 must_flush;
};

enum counter {
	LOST_EVENTS,           /* no room in the ring */
	LOST_BYTES,            /* of their payloads */
	LOST_NEWS,             /* of these events, those that were no DATA */
	UNTRACKED_CONNECTIONS, /* no room in the table */
	UNTRACKED_BYTES,
	COUNTERS,
};

/* RING, the ring, is user space's: bcc has no name for asking how full one is. */

BPF_F_TABLE("array", int, u64, counters, COUNTERS, BPF_F_MMAPABLE);
BPF_ARRAY(drafts, struct draft, PROCESSORS);

INLINE void count(int counter, u64 by)
{
	u64 *value = counters.lookup(&counter);

	if (value)
		__sync_fetch_and_add(value, by);
}

INLINE struct draft *current_draft(void)
{
	int processor = bpf_get_smp_processor_id();

	return drafts.lookup(&processor);
}

/* Room for data ends before the ring does: what opens and closes connections must get through. */
INLINE int is_full(void)
{
	return bpf_ringbuf_query(RING, BPF_RB_AVAIL_DATA) > RING_DATA_BYTES;
}

/* An event about this process, now. */
INLINE void begin(struct event *event, u8 kind, u64 connection)
{
	u64 who = bpf_get_current_pid_tgid();
	u64 now = bpf_ktime_get_ns();

	*event = (struct event){
		.kind = kind,
		.connection = connection,
		.at_ns = now,
		.ended_ns = now,
		.process = who >> 32,
		.thread = who,
	};
}

/* Tells of an event with so many bytes behind it; whether there was room. */
INLINE int tell(struct event *event, u64 bytes)
{
	if (!bpf_ringbuf_output(RING, event, sizeof(*event) + bytes, BPF_RB_NO_WAKEUP))
		return 1;
	count(LOST_EVENTS, 1);
	count(LOST_NEWS, 1);
	return 0;
}
