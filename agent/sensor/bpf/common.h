/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * What every probe shares: counters, the set of the agent's own processes, the header of a record, the walk from a
 * dentry to its path. No probe blocks, allocates or changes anything in the kernel.
 */
#ifndef BEFFROI_COMMON_H
#define BEFFROI_COMMON_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>
#include <bpf/bpf_endian.h>
#include "kernel.h"
#include "records.h"

char LICENSE[] SEC("license") = "Dual BSD/GPL";

/* Components of one path that are followed: deeper paths keep their end and are marked as cut. */
#define MAX_DEPTH 96

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, HOOKS);
	__type(key, __u32);
	__type(value, struct counters);
} counters SEC(".maps");

/* Processes of the agent itself, by id. The sensor fills it; an exit empties it. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u32);
	__type(value, __u8);
} excluded SEC(".maps");

static __always_inline struct counters *counters_of(__u32 hook)
{
	return bpf_map_lookup_elem(&counters, &hook);
}

#define COUNT(hook, what)                                 \
	do {                                              \
		struct counters *set_ = counters_of(hook); \
		if (set_)                                 \
			set_->what++;                     \
	} while (0)

static __always_inline bool is_excluded(__u32 tgid, __u32 hook)
{
	if (!bpf_map_lookup_elem(&excluded, &tgid))
		return false;
	COUNT(hook, excluded);
	return true;
}

/* Sends a finished record. A full ring is counted, never silent. */
static __always_inline void send(void *ring, void *record, __u64 size, __u32 hook)
{
	struct counters *set = counters_of(hook);

	if (!set)
		return;
	set->seen++;
	if (bpf_ringbuf_output(ring, record, size, 0) == 0)
		set->submitted++;
	else
		set->dropped++;
}

/*
 * Whether the current system call is one of the 32-bit table, whatever the program itself is: `int $0x80` works in a
 * 64-bit program as well.
 */
static __always_inline bool is_compat(void)
{
#if defined(__TARGET_ARCH_x86)
	const unsigned int bit = 0x2; /* TS_COMPAT */
#else
	const unsigned long bit = 1 << 22; /* TIF_32BIT */
#endif

	/* Since 5.11 the task can be read in place, which is five times faster than through a helper. */
	if (bpf_core_enum_value_exists(enum bpf_func_id, BPF_FUNC_get_current_task_btf))
		return bpf_get_current_task_btf()->thread_info.CALL_STATE & bit;
	return BPF_CORE_READ((struct task_struct *)bpf_get_current_task(), thread_info.CALL_STATE) & bit;
}

/* An argument of the call that was entered. A 32-bit call passes its own in other registers, with undefined upper halves. */
static __always_inline __u64 arg(const struct pt_regs *regs, bool compat, int at)
{
#if defined(__TARGET_ARCH_x86)
	__u64 value = at == 0   ? (compat ? regs->bx : regs->di)
		      : at == 1 ? (compat ? regs->cx : regs->si)
		      : at == 2 ? regs->dx
		      : at == 3 ? (compat ? regs->si : regs->r10)
		      : at == 4 ? (compat ? regs->di : regs->r8)
				: (compat ? regs->bp : regs->r9);
#else
	__u64 value = regs->regs[at];
#endif
	return compat ? (__u32)value : value;
}

/*
 * The programs of one system call: calls.bpf.c jumps to them by its number. They belong to these two tracepoints, but are
 * not attached there themselves: fifty attached syscall tracepoints take seconds to detach, two take nothing (README.md says
 * what either costs).
 */
#define ENTER(name)                    \
	SEC("tp_btf/sys_enter")        \
	int BPF_PROG(enter_##name, const struct pt_regs *regs, long id)
#define EXIT(name)                     \
	SEC("tp_btf/sys_exit")         \
	int BPF_PROG(exit_##name, const struct pt_regs *regs, long ret)

/* Where something that a caller gave is: in its memory, or, copied by the kernel, in the kernel's. */
enum space {
	SPACE_USER,
	SPACE_KERNEL,
};

static __always_inline long read_bytes(void *to, __u32 len, const void *from, enum space space)
{
	return space == SPACE_USER ? bpf_probe_read_user(to, len, from) : bpf_probe_read_kernel(to, len, from);
}

static __always_inline __u64 cgroup_id(struct task_struct *task, struct kernfs_node **node)
{
	struct css_set *set = BPF_CORE_READ(task, cgroups);
	struct cgroup *group = BPF_CORE_READ(set, dfl_cgrp);

	/* On hosts with control groups v1 the unified tree is empty: take the memory controller's. */
	if (BPF_CORE_READ(group, level) == 0 && bpf_core_enum_value_exists(enum cgroup_subsys_id, memory_cgrp_id)) {
		struct cgroup_subsys_state *state = NULL;
		__u32 index = bpf_core_enum_value(enum cgroup_subsys_id, memory_cgrp_id);

		bpf_probe_read_kernel(&state, sizeof(state), (char *)set + bpf_core_field_offset(struct css_set, subsys) + index * sizeof(void *));
		if (state)
			group = BPF_CORE_READ(state, cgroup);
	}
	*node = BPF_CORE_READ(group, kn);
	return BPF_CORE_READ(*node, id);
}

static __always_inline void fill_header(struct header *header, struct task_struct *task, __u32 kind)
{
	struct task_struct *leader = BPF_CORE_READ(task, group_leader);
	struct task_struct *parent = BPF_CORE_READ(leader, real_parent);
	struct task_struct *parent_leader = BPF_CORE_READ(parent, group_leader);
	const struct cred *cred = BPF_CORE_READ(task, real_cred);
	struct kernfs_node *node;

	header->kind = kind;
	header->flags = 0;
	header->ts = bpf_ktime_get_boot_ns();
	header->start = BPF_CORE_READ(leader, start_boottime);
	header->tgid = BPF_CORE_READ(task, tgid);
	header->tid = BPF_CORE_READ(task, pid);
	header->uid = BPF_CORE_READ(cred, uid.val);
	header->gid = BPF_CORE_READ(cred, gid.val);
	header->euid = BPF_CORE_READ(cred, euid.val);
	header->loginuid = bpf_core_field_exists(task->loginuid) ? BPF_CORE_READ(task, loginuid.val) : (__u32)-1;
	header->sessionid = bpf_core_field_exists(task->sessionid) ? BPF_CORE_READ(task, sessionid) : (__u32)-1;
	header->ppid = BPF_CORE_READ(parent, tgid);
	header->pstart = BPF_CORE_READ(parent_leader, start_boottime);
	header->cgroup = cgroup_id(task, &node);
}

/*
 * Where a walk stands. It lives in a map, not in registers: the verifier then forgets what it knew about the values and
 * finds each turn of the loop equal to the last, instead of following every length a path may have.
 */
struct walk {
	struct dentry *dentry;
	struct mount *mnt;
	__u32 off; /* next free byte of the text */
	__u32 end; /* first byte that this walk may not begin a component at */
	__u32 cut; /* some walk did not reach its root */
	__u32 unused;
};

/*
 * Appends the components of a path to `text` (of `room` bytes), leaf first. Ends at the root of the mount namespace, so
 * that a container's paths are the container's and a chroot hides nothing. A file that stands in no folder, such as one
 * of memfd_create, has its name alone, as /proc shows it.
 */
static __always_inline void walk_path(struct walk *walk, char *text, __u32 room, struct path *path)
{
	struct vfsmount *vfsmnt = BPF_CORE_READ(path, mnt);

	walk->dentry = BPF_CORE_READ(path, dentry);
	walk->mnt = (void *)vfsmnt - bpf_core_field_offset(struct mount, mnt);
	walk->end = walk->off + MAX_PATH - MAX_NAME;
	for (int depth = 0; depth < MAX_DEPTH; depth++) {
		struct dentry *dentry = walk->dentry;
		struct mount *mnt = walk->mnt;
		struct dentry *parent = BPF_CORE_READ(dentry, d_parent);

		if (dentry == BPF_CORE_READ(mnt, mnt.mnt_root)) {
			struct mount *above = BPF_CORE_READ(mnt, mnt_parent);

			if (above == mnt)
				return;
			walk->dentry = BPF_CORE_READ(mnt, mnt_mountpoint);
			walk->mnt = above;
			continue;
		}
		if (dentry == parent && depth)
			return;
		__u32 off = walk->off;

		if (off > walk->end || off > room - MAX_NAME)
			break;
		long len = bpf_probe_read_kernel_str(text + off, MAX_NAME, BPF_CORE_READ(dentry, d_name.name));
		if (len <= 0)
			break;
		walk->off = off + len;
		if (dentry == parent)
			return;
		walk->dentry = parent;
	}
	walk->cut = 1;
}

#endif
