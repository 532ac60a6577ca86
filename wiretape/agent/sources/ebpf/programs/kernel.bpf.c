/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * What is read of the kernel: the registers of a system call, and sockets.
 *
 * The files of this folder are compiled as one, in the order that compiler.py tells. Places in
 * structures are macros like AT_FILE_PRIVATE_DATA, in bytes, from the kernel's own types (btf.py).
 */

#include <asm/unistd.h>
#include <uapi/linux/ptrace.h>

#define BPF_LICENSE Dual BSD/GPL
#define INLINE static inline __attribute__((always_inline))

/* What the compiler knows of a value is forgotten: it must test it where the verifier can see it. */
#define FORGET(value) asm volatile("" : "+r"(value))

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_MPTCP 262

enum tcp_state {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT = 2,
	TCP_SYN_RECV = 3,
	TCP_FIN_WAIT1 = 4,
	TCP_CLOSE = 7,
	TCP_CLOSE_WAIT = 8,
	TCP_LAST_ACK = 9,
	TCP_LISTEN = 10,
};

#define READ_AS(type)                                                        \
	INLINE type read_##type(u64 place)                                   \
	{                                                                    \
		type value = 0;                                              \
		bpf_probe_read_kernel(&value, sizeof(value), (void *)place); \
		return value;                                                \
	}

READ_AS(u8)
READ_AS(u16)
READ_AS(u32)
READ_AS(u64)

/* -- system calls */

struct arguments {
	u64 value[6];
	int number;
};

#if defined(__TARGET_ARCH_arm64) || defined(__aarch64__)

INLINE void read_arguments(struct pt_regs *registers, struct arguments *to)
{
	bpf_probe_read_kernel(to->value, sizeof(to->value), &registers->regs[0]);
	/* The result takes the first one's register. */
	to->value[0] = read_u64((u64)&registers->orig_x0);
	to->number = (int)read_u32((u64)&registers->syscallno);
}

/* _TIF_32BIT of thread_info.flags */
INLINE int is_32_bit(void)
{
	return read_u64(bpf_get_current_task() + AT_THREAD_FLAGS) >> 22 & 1;
}

#else

INLINE void read_arguments(struct pt_regs *registers, struct arguments *to)
{
	struct {
		unsigned long r10, r9, r8, ax, cx, dx, si, di, orig_ax;
	} part = {};

	bpf_probe_read_kernel(&part, sizeof(part), &registers->r10);
	to->value[0] = part.di;
	to->value[1] = part.si;
	to->value[2] = part.dx;
	to->value[3] = part.r10;
	to->value[4] = part.r8;
	to->value[5] = part.r9;
	to->number = (int)part.orig_ax;
}

/* TS_COMPAT of thread_info.status: the numbers of its calls are others. */
INLINE int is_32_bit(void)
{
	return read_u32(bpf_get_current_task() + AT_THREAD_STATUS) & 2;
}

#endif

/* -- sockets: a socket is known by the place of the kernel's `struct sock`, in whatever process and
 *    under whatever descriptors. That place is used again only after tcp_destroy_sock. */

struct tcp {
	u64 sock;
	u16 protocol;
	u8 state;
};

/* The socket behind a descriptor of this process. Whether it is one of TCP that does not listen.
 *
 * Of a number that is no descriptor this may tell anything; but no call with it succeeds. */
INLINE int find_tcp(u32 descriptor, struct tcp *to)
{
	u64 table = read_u64(read_u64(bpf_get_current_task() + AT_TASK_FILES) + AT_FILES_TABLE);
	u64 file = read_u64(read_u64(table + AT_TABLE_FILES) + 8 * (u64)descriptor);
	u64 socket = read_u64(file + AT_FILE_PRIVATE_DATA);

	/* Only what belongs to a socket's file is a socket. */
	if (!socket || read_u64(socket + AT_SOCKET_FILE) != file)
		return 0;
	u64 sock = read_u64(socket + AT_SOCKET_SOCK);
	u16 family = read_u16(sock + AT_SOCK_FAMILY);
	if (family != AF_INET && family != AF_INET6)
		return 0;
	to->protocol = read_u16(sock + AT_SOCK_PROTOCOL);
	if (to->protocol != IPPROTO_TCP && to->protocol != IPPROTO_MPTCP)
		return 0;
	to->state = read_u8(sock + AT_SOCK_STATE);
	to->sock = sock;
	return to->state != TCP_LISTEN;
}

enum direction { RECEIVED, SENT };

/* Up to which sequence number the application has read, or written. */
INLINE u32 sequence(u64 sock, u8 direction)
{
	return read_u32(sock + (direction == SENT ? AT_TCP_WRITE_SEQ : AT_TCP_COPIED_SEQ));
}

/* Whether sequence numbers count what the application reads and writes: of plain TCP. With kernel
 * TLS they count ciphertext, and Multipath TCP has a stream above its subflows. */
INLINE int has_sequence(u64 sock)
{
	return read_u16(sock + AT_SOCK_PROTOCOL) == IPPROTO_TCP && !read_u64(sock + AT_TCP_ULP);
}
