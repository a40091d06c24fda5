// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/* Life of processes: exec, fork, exit. These records go first; they have a ring of their own. */
#include "common.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 8 << 20);
} process_ring SEC(".maps");

struct exec_scratch {
	struct walk walk;
	struct exec_record record;
	char text[EXEC_TEXT + MAX_ARGS];
};

/*
 * One scratch record per CPU. A per-CPU map cannot hold values of this size, so this is an array with one entry per
 * possible CPU; the sensor sets its length. The tracepoint runs with preemption off and in process context only.
 */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct exec_scratch);
} exec_scratches SEC(".maps");

#define ARGS_STEP 4096

/* Reads page by page where one read of everything failed; pages that are away stay empty. */
static __always_inline bool read_args_slowly(char *to, unsigned long from, __u32 len)
{
	bool whole = true;

	for (__u32 at = 0; at < MAX_ARGS && at < len; at += ARGS_STEP) {
		if (bpf_probe_read_user(to + at, ARGS_STEP, (void *)(from + at))) {
			__builtin_memset(to + at, 0, 8);
			whole = false;
		}
	}
	return whole;
}

static __always_inline void read_args(struct exec_scratch *scratch, struct mm_struct *mm)
{
	unsigned long from = BPF_CORE_READ(mm, arg_start);
	unsigned long total = BPF_CORE_READ(mm, arg_end) - from;
	__u32 off = scratch->walk.off;
	__u32 len = total;

	scratch->record.args_total = total > 0xffffffff ? 0xffffffff : total;
	if (total > MAX_ARGS) {
		len = MAX_ARGS;
		scratch->record.header.flags |= FLAG_ARGS_CUT;
	}
	if (off > EXEC_TEXT)
		return;
	if (bpf_probe_read_user(scratch->text + off, len, (void *)from) && !read_args_slowly(scratch->text + off, from, len))
		scratch->record.header.flags |= FLAG_ARGS_HOLE;
	scratch->record.args_len = len;
	scratch->walk.off = off + len;
}

static __always_inline __u32 read_text(struct exec_scratch *scratch, __u32 max, const void *from)
{
	__u32 off = scratch->walk.off;

	if (off > EXEC_TEXT - MAX_PATH)
		return 0;
	long len = bpf_probe_read_kernel_str(scratch->text + off, max, from);
	if (len <= 0)
		return 0;
	scratch->walk.off = off + len;
	return len;
}

static __always_inline void read_paths(struct exec_scratch *scratch, struct task_struct *task, struct mm_struct *mm)
{
	struct exec_record *record = &scratch->record;
	struct file *exe = BPF_CORE_READ(mm, exe_file);
	struct fs_struct *fs = BPF_CORE_READ(task, fs);

	walk_path(&scratch->walk, scratch->text, EXEC_TEXT, __builtin_preserve_access_index(&exe->f_path));
	record->exe_len = scratch->walk.off;
	walk_path(&scratch->walk, scratch->text, EXEC_TEXT, __builtin_preserve_access_index(&fs->pwd));
	record->cwd_len = scratch->walk.off - record->exe_len;
}

SEC("tp_btf/sched_process_exec")
int BPF_PROG(on_exec, struct task_struct *task, int old_pid, struct linux_binprm *bprm)
{
	__u32 cpu = bpf_get_smp_processor_id();
	struct exec_scratch *scratch = bpf_map_lookup_elem(&exec_scratches, &cpu);
	struct kernfs_node *node = NULL;

	if (!scratch || is_excluded(BPF_CORE_READ(task, tgid), HOOK_EXEC))
		return 0;
	struct exec_record *record = &scratch->record;
	struct mm_struct *mm = BPF_CORE_READ(task, mm);

	scratch->walk.off = 0;
	scratch->walk.cut = 0;
	record->args_len = 0;
	fill_header(&record->header, task, KIND_EXEC);
	BPF_CORE_READ_STR_INTO(&record->comm, task, comm);
	read_paths(scratch, task, mm);
	record->given_len = read_text(scratch, MAX_PATH, BPF_CORE_READ(bprm, filename));
	cgroup_id(task, &node);
	record->cgroup_len = read_text(scratch, MAX_NAME, BPF_CORE_READ(node, name));
	read_args(scratch, mm);
	if (scratch->walk.cut)
		record->header.flags |= FLAG_PATH_CUT;
	if (record->header.flags)
		COUNT(HOOK_EXEC, oversized);

	__u32 size = sizeof(*record) + scratch->walk.off;
	if (size > sizeof(*record) + EXEC_TEXT + MAX_ARGS)
		return 0;
	record->header.size = size;
	send(&process_ring, record, size, HOOK_EXEC);
	return 0;
}

SEC("tp_btf/sched_process_fork")
int BPF_PROG(on_fork, struct task_struct *parent, struct task_struct *child)
{
	struct fork_record record = {};

	/* A new thread is no new process. */
	if (BPF_CORE_READ(child, pid) != BPF_CORE_READ(child, tgid))
		return 0;
	if (is_excluded(BPF_CORE_READ(parent, tgid), HOOK_FORK))
		return 0;
	fill_header(&record.header, child, KIND_FORK);
	record.header.size = sizeof(record);
	BPF_CORE_READ_STR_INTO(&record.comm, child, comm);
	send(&process_ring, &record, sizeof(record), HOOK_FORK);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(on_exit, struct task_struct *task)
{
	struct exit_record record = {};
	__u32 tgid = BPF_CORE_READ(task, tgid);

	/* Only the end of the last thread is the end of the process. */
	if (BPF_CORE_READ(task, signal, live.counter) != 0)
		return 0;
	if (is_excluded(tgid, HOOK_EXIT)) {
		bpf_map_delete_elem(&excluded, &tgid);
		return 0;
	}
	fill_header(&record.header, task, KIND_EXIT);
	record.header.size = sizeof(record);
	record.status = BPF_CORE_READ(task, exit_code);
	send(&process_ring, &record, sizeof(record), HOOK_EXIT);
	return 0;
}
