/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the probes that report sockets share: the record, the socket of a descriptor, datagrams to an address. */
#ifndef BEFFROI_NET_H
#define BEFFROI_NET_H

#include "activity.h"

/* Where a process has sent datagrams to, and when that was last reported. */
struct destination {
	__u64 start; /* of the process */
	__u32 tgid;
	__u16 family;
	__u16 port; /* host order */
	__u8 addr[16];
};

/* Sends to one destination are reported once in this time. */
#define REPEAT_NS (60ULL * 1000000000)

/* The least recently used destination makes room: a process that sends to more of them is reported more often, never less. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, struct destination);
	__type(value, __u64);
} destinations SEC(".maps");

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

static __always_inline bool is_datagram(const struct sock *sk)
{
	return sk && is_inet(sk) && BPF_CORE_READ(sk, sk_type) == SOCK_DGRAM;
}

/* What is common to the forms of struct sockaddr for IPv4 and IPv6. */
struct address {
	__u16 family;
	__be16 port;
	__be32 v4;
	__u8 v6[16];
};

/*
 * Reads where a datagram goes to. False for what is no IP address, and for a destination that was reported less than
 * REPEAT_NS ago. `len` is what the caller says; the kernel refuses less than an IPv4 address.
 */
static __always_inline bool read_destination(struct destination *to, const struct sock *sk, const void *from, __u32 len,
					     enum space space)
{
	struct task_struct *leader = BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), group_leader);
	struct address address = {};
	__u64 *before;

	if (len < 16 || read_bytes(&address, len >= sizeof(address) ? sizeof(address) : 8, from, space))
		return false;
	to->start = BPF_CORE_READ(leader, start_boottime);
	to->tgid = bpf_get_current_pid_tgid() >> 32;
	to->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	to->port = bpf_ntohs(address.port);
	if (to->family == AF_INET) {
		/* Whatever family the address claims: the kernel takes an unspecified one for this as well. */
		__builtin_memcpy(to->addr, &address.v4, 4);
	} else if (address.family == AF_INET) {
		to->addr[10] = to->addr[11] = 0xff;
		__builtin_memcpy(to->addr + 12, &address.v4, 4);
	} else if (address.family == AF_INET6) {
		__builtin_memcpy(to->addr, address.v6, 16);
	} else {
		return false;
	}
	before = bpf_map_lookup_elem(&destinations, to);
	return !before || bpf_ktime_get_boot_ns() - *before >= REPEAT_NS;
}

/* Reports a datagram socket's business with an address that is not (yet) its own. */
static __always_inline void report_to(const struct sock *sk, const struct destination *to, __u32 op, __u32 hook, __u32 flags)
{
	struct net_record record = {};

	if (is_excluded(to->tgid, hook))
		return;
	fill(&record, sk, op);
	record.header.flags |= flags;
	record.dport = to->port;
	__builtin_memcpy(record.daddr, to->addr, sizeof(record.daddr));
	bpf_map_update_elem(&destinations, to, &record.header.ts, BPF_ANY);
	send(&activity_ring, &record, sizeof(record), hook);
}

#endif
