/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * Where the sockets of one control group may go: to our listeners, to sockets of the group itself,
 * and nowhere else. What was called stays what the process sees as its peer.
 */

#include <uapi/linux/bpf.h>

#define BPF_LICENSE Dual BSD/GPL
#define INLINE static inline __attribute__((always_inline))

#define ECONNREFUSED 111
#define SOCK_STREAM 1
#define SOCK_DGRAM 2
#define TCP 6
#define UDP 17
#define MPTCP 262
#define DNS 53
#define ALLOW 1
#define REFUSE 0
#define MAPPED 0xffff0000 /* ::ffff:0:0/96, as the third word lies in memory */

/* An address of IPv4 is one of IPv6 that is mapped, and a port: all in network byte order. */
struct place {
	u32 ip[4];
	u32 port;
	u32 protocol; /* TCP or UDP */
};

BPF_HASH(served, struct place, struct place, 16384);
/* By version (0: IPv4) and protocol (2: UDP): our name server's. */
BPF_ARRAY(name_servers, struct place, 4);
/* Ports on which sockets of the group are bound. */
BPF_TABLE("lru_hash", struct place, u8, own, 65536);
/* What a socket called, by its cookie. */
BPF_TABLE("lru_hash", u64, struct place, called, 65536);
BPF_TABLE("lru_hash", struct place, u8, refused, 4096);
/* Addresses at which something is served. */
BPF_HASH(known, struct place, u8, 16384);

static int (*set_retval)(int value) = (void *)187; /* BPF_FUNC_set_retval, from Linux 5.18 */

INLINE int is_mapped(struct place *place)
{
	return !place->ip[0] && !place->ip[1] && place->ip[2] == MAPPED;
}

/* Of this machine alone; what goes to no address goes there too. */
INLINE int is_loopback(struct place *place)
{
	if (is_mapped(place))
		return (place->ip[3] & 0xff) == 127 || !place->ip[3];
	return !place->ip[0] && !place->ip[1] && !place->ip[2] && (place->ip[3] & 0xfeffffff) == 0;
}

INLINE int refuse(struct place *to, int is_told)
{
	u8 one = 1;

	if (is_told)
		refused.update(to, &one);
	set_retval(-ECONNREFUSED);
	return REFUSE;
}

/* Turns `to` into where the call goes instead; whether it may go at all. */
INLINE int route(u64 cookie, struct place *to, int is_connect)
{
	struct place *there = 0, original = *to, key = {};
	u32 server = (is_mapped(to) ? 0 : 1) + (to->protocol == UDP ? 2 : 0);

	if (to->port == __builtin_bswap16(DNS))
		there = name_servers.lookup(&server);
	else if (to->protocol == TCP)
		there = served.lookup(to);
	if (there && there->port) {
		called.update(&cookie, &original);
		to->ip[0] = there->ip[0];
		to->ip[1] = there->ip[1];
		to->ip[2] = there->ip[2];
		to->ip[3] = there->ip[3];
		to->port = there->port;
		return ALLOW;
	}
	key.port = to->port;
	key.protocol = to->protocol;
	if (is_loopback(to) && own.lookup(&key))
		return ALLOW;
	/* Resolvers connect sockets of UDP to what they found, to see which way it would go. */
	key = original;
	key.port = key.protocol = 0;
	return refuse(to, to->protocol == TCP || !is_connect || !known.lookup(&key));
}

/* 0 for what is neither. */
INLINE u32 protocol_of(u32 type, u32 protocol)
{
	if (type == SOCK_STREAM && (protocol == TCP || protocol == MPTCP))
		return TCP;
	return type == SOCK_DGRAM && protocol == UDP ? UDP : 0;
}

#define READ_IPV4(context, name)                                                  \
	struct place name = {};                                                   \
	name.ip[2] = MAPPED;                                                      \
	name.ip[3] = context->user_ip4;                                           \
	name.port = context->user_port & 0xffff;                                  \
	name.protocol = protocol_of(context->type, context->protocol)

#define READ_IPV6(context, name)                                                  \
	struct place name = {};                                                   \
	name.ip[0] = context->user_ip6[0];                                        \
	name.ip[1] = context->user_ip6[1];                                        \
	name.ip[2] = context->user_ip6[2];                                        \
	name.ip[3] = context->user_ip6[3];                                        \
	name.port = context->user_port & 0xffff;                                  \
	name.protocol = protocol_of(context->type, context->protocol)

#define WRITE_IPV4(context, name)                                                 \
	context->user_ip4 = name.ip[3];                                           \
	context->user_port = name.port

#define WRITE_IPV6(context, name)                                                 \
	context->user_ip6[0] = name.ip[0];                                        \
	context->user_ip6[1] = name.ip[1];                                        \
	context->user_ip6[2] = name.ip[2];                                        \
	context->user_ip6[3] = name.ip[3];                                        \
	context->user_port = name.port

#define CALL(name, version, is_connect)                                            \
	int name(struct bpf_sock_addr *context)                                    \
	{                                                                          \
		READ_##version(context, to);                                       \
		if (!to.protocol)                                                  \
			return refuse(&to, 0);                                     \
		if (!route(bpf_get_socket_cookie(context), &to, is_connect))       \
			return REFUSE;                                             \
		WRITE_##version(context, to);                                      \
		return ALLOW;                                                      \
	}

CALL(connect4, IPV4, 1)
CALL(connect6, IPV6, 1)
CALL(sendmsg4, IPV4, 0)
CALL(sendmsg6, IPV6, 0)

/* -- what the process sees: whom it called, if we stand for that */

INLINE int peer(u64 cookie, struct place *to)
{
	struct place *original = called.lookup(&cookie);

	if (original)
		*to = *original;
	return !!original;
}

/* A socket of UDP may hear of others than our name server too. */
INLINE int sender(u64 cookie, struct place *from)
{
	u32 server = (is_mapped(from) ? 0 : 1) + 2;
	struct place *ours = name_servers.lookup(&server);

	return ours && ours->ip[3] == from->ip[3] && ours->port == from->port && peer(cookie, from);
}

#define SEEN(name, version, function)                                              \
	int name(struct bpf_sock_addr *context)                                    \
	{                                                                          \
		READ_##version(context, place);                                    \
		if (function(bpf_get_socket_cookie(context), &place)) {            \
			WRITE_##version(context, place);                           \
		}                                                                  \
		return ALLOW;                                                      \
	}

SEEN(getpeername4, IPV4, peer)
SEEN(getpeername6, IPV6, peer)
SEEN(recvmsg4, IPV4, sender)
SEEN(recvmsg6, IPV6, sender)

/* -- sockets of the group's own */

INLINE int bound(struct place *place)
{
	u8 one = 1;

	if (place->protocol)
		own.update(place, &one);
	return ALLOW;
}

#define BOUND(name)                                                                \
	int name(struct bpf_sock *context)                                         \
	{                                                                          \
		struct place place = {};                                           \
		place.port = __builtin_bswap16((u16)context->src_port);            \
		place.protocol = protocol_of(context->type, context->protocol);    \
		return bound(&place);                                              \
	}

BOUND(bound4)
BOUND(bound6)
