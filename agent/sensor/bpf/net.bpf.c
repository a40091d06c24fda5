// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Network: outgoing connections, accepted connections, listening and bound sockets, IPv4 and IPv6.
 *
 * A TCP connection is noted in the caller's context (SYN_SENT) and reported when its outcome is known, so that source
 * port and result are right and the process is the one that asked. UDP is seen when it is connected or bound.
 */
#include "common.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} activity_ring SEC(".maps");

/* Connections whose outcome is open, by socket. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct net_record);
} connecting SEC(".maps");

/* Descriptor of a call that was entered and has not returned, by thread. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, __u32);
} socket_calls SEC(".maps");

#define AF_INET 2
#define AF_INET6 10
#define SOCK_DGRAM 2
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define TCP_ESTABLISHED 1
#define TCP_SYN_SENT 2
#define TCP_CLOSE 7
#define TCP_LISTEN 10
#define S_IFMT 0170000
#define S_IFSOCK 0140000

static __always_inline bool is_inet(const struct sock *sk)
{
	__u16 family = BPF_CORE_READ(sk, __sk_common.skc_family);

	return family == AF_INET || family == AF_INET6;
}

static __always_inline void fill_addresses(struct net_record *record, const struct sock *sk)
{
	record->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	record->protocol = BPF_CORE_READ(sk, sk_protocol);
	record->sport = BPF_CORE_READ(sk, __sk_common.skc_num);
	record->dport = bpf_ntohs(BPF_CORE_READ(sk, __sk_common.skc_dport));
	if (record->family == AF_INET6) {
		BPF_CORE_READ_INTO(&record->saddr, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(&record->daddr, sk, __sk_common.skc_v6_daddr);
	} else {
		BPF_CORE_READ_INTO((__be32 *)record->saddr, sk, __sk_common.skc_rcv_saddr);
		BPF_CORE_READ_INTO((__be32 *)record->daddr, sk, __sk_common.skc_daddr);
	}
}

static __always_inline void fill(struct net_record *record, const struct sock *sk, __u32 op)
{
	fill_header(&record->header, (void *)bpf_get_current_task(), KIND_NET);
	record->header.size = sizeof(*record);
	record->op = op;
	fill_addresses(record, sk);
}

static __always_inline void report(const struct sock *sk, __u32 op, __u32 hook)
{
	struct net_record record = {};

	if (is_excluded(bpf_get_current_pid_tgid() >> 32, hook))
		return;
	fill(&record, sk, op);
	send(&activity_ring, &record, sizeof(record), hook);
}

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

static __always_inline const struct sock *sock_of(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file *file = NULL;

	if (fd >= BPF_CORE_READ(table, max_fds))
		return NULL;
	bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + fd);
	if (!file || (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) != S_IFSOCK)
		return NULL;
	struct socket *socket = BPF_CORE_READ(file, private_data);
	return BPF_CORE_READ(socket, sk);
}

static __always_inline int accepted(struct sys_exit *ctx)
{
	if (ctx->ret < 0)
		return 0;
	const struct sock *sk = sock_of(ctx->ret);
	if (sk && is_inet(sk))
		report(sk, NET_ACCEPT, HOOK_ACCEPT);
	return 0;
}

SEC("tp/syscalls/sys_exit_accept")
int exit_accept(struct sys_exit *ctx)
{
	return accepted(ctx);
}

SEC("tp/syscalls/sys_exit_accept4")
int exit_accept4(struct sys_exit *ctx)
{
	return accepted(ctx);
}

static __always_inline int remember_fd(__u32 fd)
{
	__u64 thread = bpf_get_current_pid_tgid();

	bpf_map_update_elem(&socket_calls, &thread, &fd, BPF_ANY);
	return 0;
}

/* Reports what succeeded on a datagram socket; streams are seen by their states. */
static __always_inline int datagram_call(struct sys_exit *ctx, __u32 op, __u32 hook)
{
	__u64 thread = bpf_get_current_pid_tgid();
	__u32 *fd = bpf_map_lookup_elem(&socket_calls, &thread);

	if (!fd)
		return 0;
	const struct sock *sk = ctx->ret == 0 ? sock_of(*fd) : NULL;
	bpf_map_delete_elem(&socket_calls, &thread);
	if (sk && is_inet(sk) && BPF_CORE_READ(sk, sk_type) == SOCK_DGRAM)
		report(sk, op, hook);
	return 0;
}

SEC("tp/syscalls/sys_enter_connect")
int enter_connect(struct sys_enter *ctx)
{
	return remember_fd(ctx->args[0]);
}

SEC("tp/syscalls/sys_exit_connect")
int exit_connect(struct sys_exit *ctx)
{
	return datagram_call(ctx, NET_CONNECT, HOOK_CONNECT);
}

SEC("tp/syscalls/sys_enter_bind")
int enter_bind(struct sys_enter *ctx)
{
	return remember_fd(ctx->args[0]);
}

SEC("tp/syscalls/sys_exit_bind")
int exit_bind(struct sys_exit *ctx)
{
	return datagram_call(ctx, NET_BIND, HOOK_LISTEN);
}
