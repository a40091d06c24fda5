// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Network: outgoing connections, accepted connections, listening and bound sockets, datagrams, IPv4 and IPv6.
 *
 * A TCP connection is noted in the caller's context (SYN_SENT) and reported when its outcome is known, so that source
 * port and result are right and the process is the one that asked. UDP is seen when it is connected or bound, and when a
 * process first sends to an address.
 */
#include "net.h"

/* Connections whose outcome is open, by socket. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct net_record);
} connecting SEC(".maps");

/* A call that was entered and has not returned, by thread. */
struct socket_call {
	__u32 fd;
	__u32 op;
	struct destination to; /* of NET_SEND */
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct socket_call);
} socket_calls SEC(".maps");

/* Numbers of the one 32-bit call that was all socket calls once. */
#define SOCKETCALL_BIND 2
#define SOCKETCALL_CONNECT 3
#define SOCKETCALL_ACCEPT 5
#define SOCKETCALL_SENDTO 11
#define SOCKETCALL_SENDMSG 16
#define SOCKETCALL_ACCEPT4 18

static __always_inline void note_attempt(const struct sock *sk)
{
	struct net_record record = {};
	__u64 key = (__u64)sk;

	if (is_excluded(bpf_get_current_pid_tgid() >> 32, HOOK_CONNECT))
		return;
	fill(&record, sk, NET_CONNECT);
	bpf_map_update_elem(&connecting, &key, &record, BPF_ANY);
}

/* May run in an interrupt, on behalf of anyone: the process is taken from the attempt. */
static __always_inline void report_outcome(const struct sock *sk, __u32 result)
{
	__u64 key = (__u64)sk;
	struct net_record *attempt = bpf_map_lookup_elem(&connecting, &key);

	if (!attempt)
		return;
	struct net_record record = *attempt;
	bpf_map_delete_elem(&connecting, &key);
	/* On failure the socket has already forgotten where it went. */
	if (result == NET_DONE)
		fill_addresses(&record, sk);
	record.result = result;
	send(&activity_ring, &record, sizeof(record), HOOK_CONNECT);
}

SEC("tp_btf/inet_sock_set_state")
int BPF_PROG(on_state, const struct sock *sk, int old, int new)
{
	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	if (new == TCP_SYN_SENT)
		note_attempt(sk);
	else if (old == TCP_SYN_SENT && new == TCP_ESTABLISHED)
		report_outcome(sk, NET_DONE);
	else if (old == TCP_SYN_SENT && new == TCP_CLOSE)
		report_outcome(sk, NET_FAILED);
	else if (new == TCP_LISTEN)
		report(sk, NET_LISTEN, HOOK_LISTEN);
	return 0;
}

static __always_inline int accepted(long fd)
{
	const struct sock *sk = fd < 0 ? NULL : sock_of(fd);

	if (sk && is_inet(sk))
		report(sk, NET_ACCEPT, HOOK_ACCEPT);
	return 0;
}

EXIT(accept)
{
	return accepted(ret);
}

static __always_inline int remember(__u32 fd, __u32 op)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct socket_call call = { .fd = fd, .op = op };

	bpf_map_update_elem(&socket_calls, &thread, &call, BPF_ANY);
	return 0;
}

/* A send without an address goes where the socket is connected to, which was reported when that happened. */
static __always_inline int sending(__u32 fd, __u64 address, __u32 len)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct socket_call call = { .fd = fd, .op = NET_SEND };
	const struct sock *sk = address ? sock_of(fd) : NULL;

	if (is_datagram(sk) && read_destination(&call.to, sk, (void *)address, len, SPACE_USER))
		bpf_map_update_elem(&socket_calls, &thread, &call, BPF_ANY);
	return 0;
}

/* The head of struct msghdr in both tables, and of struct mmsghdr, which begins with one. */
static __always_inline int sending_message(__u32 fd, __u64 message, bool compat)
{
	__u64 name = 0;
	__u32 len = 0;

	if (compat) {
		bpf_probe_read_user(&name, 4, (void *)message);
		bpf_probe_read_user(&len, 4, (void *)message + 4);
	} else {
		bpf_probe_read_user(&name, 8, (void *)message);
		bpf_probe_read_user(&len, 4, (void *)message + 8);
	}
	return sending(fd, name, len);
}

ENTER(connect)
{
	return remember(arg(regs, is_compat(), 0), NET_CONNECT);
}

ENTER(bind)
{
	return remember(arg(regs, is_compat(), 0), NET_BIND);
}

ENTER(sendto)
{
	bool compat = is_compat();

	return sending(arg(regs, compat, 0), arg(regs, compat, 4), arg(regs, compat, 5));
}

/* Of several messages in one call the first one's destination is looked at. */
ENTER(sendmsg)
{
	bool compat = is_compat();

	return sending_message(arg(regs, compat, 0), arg(regs, compat, 1), compat);
}

ENTER(socketcall)
{
	__u32 call = arg(regs, true, 0), args[6] = {};

	/* Not every call has six; reading on does no harm. */
	if (bpf_probe_read_user(args, sizeof(args), (void *)arg(regs, true, 1)))
		bpf_probe_read_user(args, 3 * sizeof(args[0]), (void *)arg(regs, true, 1));
	switch (call) {
	case SOCKETCALL_CONNECT:
		return remember(args[0], NET_CONNECT);
	case SOCKETCALL_BIND:
		return remember(args[0], NET_BIND);
	case SOCKETCALL_ACCEPT:
	case SOCKETCALL_ACCEPT4:
		return remember(args[0], NET_ACCEPT);
	case SOCKETCALL_SENDTO:
		return sending(args[0], args[4], args[5]);
	case SOCKETCALL_SENDMSG:
		return sending_message(args[0], args[1], true);
	}
	return 0;
}

/* Of every call that was remembered. Streams are seen by their states, so only datagram sockets are reported here. */
EXIT(socket)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct socket_call *known = bpf_map_lookup_elem(&socket_calls, &thread);

	if (!known)
		return 0;
	struct socket_call call = *known;
	bpf_map_delete_elem(&socket_calls, &thread);
	if (ret < 0)
		return 0;
	if (call.op == NET_ACCEPT)
		return accepted(ret);
	const struct sock *sk = sock_of(call.fd);
	if (!is_datagram(sk))
		return 0;
	if (call.op == NET_SEND)
		report_to(sk, &call.to, NET_SEND, HOOK_SEND, 0);
	else
		report(sk, call.op, call.op == NET_BIND ? HOOK_LISTEN : HOOK_CONNECT);
	return 0;
}
