// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Files: created, overwritten, closed after writing, renamed, removed, linked.
 *
 * Opened files are reported by the kernel's own path (walked from the descriptor). Renames, removals and links are
 * reported after the call succeeded, as the folder the name starts from plus the name as the caller gave it.
 */
#include "file.h"

/* A call that was entered and has not returned. Threads that die inside the call are pushed out by age. */
struct file_call {
	__u32 op;
	__s32 dfd;
	__s32 dfd2;
	__u32 hook;
	__u64 name;
	__u64 name2;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct file_call);
} file_calls SEC(".maps");

ENTER(close)
{
	return closing(arg(regs, is_compat(), 0));
}

/* The descriptor that is replaced is closed; dup3 refuses to replace one by itself. */
ENTER(dup)
{
	bool compat = is_compat();
	__u32 from = arg(regs, compat, 0), to = arg(regs, compat, 1);

	return from == to ? 0 : closing(to);
}

/* One descriptor of many. Global, so that the verifier looks at it once and not in every turn of the loop. */
__noinline int closing_one(__u32 fd)
{
	struct file *file = file_of((void *)bpf_get_current_task(), fd);

	if (file && ends_writing(file))
		report_file((__u64)file, FILE_WRITE_CLOSE, HOOK_CLOSE);
	return 0;
}

/* Closes of a range and of a process that ends, by itself: every descriptor below MAX_FDS is looked at. */
static __always_inline void closing_many(__u32 first, __u32 last)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	unsigned long *open = BPF_CORE_READ(table, open_fds);
	__u32 max = BPF_CORE_READ(table, max_fds);
	__u32 zero = 0;
	struct file_scratch *scratch = bpf_map_lookup_elem(&file_scratches, &zero);
	__u64 word = 0;

	if (!scratch || is_excluded(bpf_get_current_pid_tgid() >> 32, HOOK_CLOSE))
		return;
	scratch->first_fd = first;
	scratch->last_fd = last;
	for (__u32 fd = 0; fd < MAX_FDS && fd < max; fd++) {
		if (fd % 64 == 0)
			bpf_probe_read_kernel(&word, sizeof(word), open + fd / 64);
		if (word >> (fd % 64) & 1 && fd >= scratch->first_fd && fd <= scratch->last_fd)
			closing_one(fd);
	}
}

ENTER(close_range)
{
	bool compat = is_compat();

	/* Any flag means that nothing is closed now (close on exec) or that the table is copied first. */
	if (arg(regs, compat, 2) == 0)
		closing_many(arg(regs, compat, 0), arg(regs, compat, 1));
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exit_closes, struct task_struct *task)
{
	struct files_struct *files = BPF_CORE_READ(task, files);

	/* Shared tables stay open until the last user goes. */
	if (files && BPF_CORE_READ(files, count.counter) == 1)
		closing_many(0, MAX_FDS);
	return 0;
}

static __always_inline int remember(__u32 op, __s32 dfd, __u64 name, __s32 dfd2, __u64 name2, __u32 hook)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct file_call call = {
		.op = op, .dfd = dfd, .dfd2 = dfd2, .hook = hook, .name = name, .name2 = name2,
	};

	if (!is_excluded(thread >> 32, hook))
		bpf_map_update_elem(&file_calls, &thread, &call, BPF_ANY);
	return 0;
}

/* ---- open ---- */

static __always_inline int opening(__u64 flags)
{
	/* Creation is read from the file itself; that it was emptied only the flags tell. */
	return flags & O_TRUNC ? remember(FILE_OVERWRITE, 0, 0, 0, 0, HOOK_OPEN) : 0;
}

ENTER(open)
{
	return opening(arg(regs, is_compat(), 1));
}

ENTER(openat)
{
	return opening(arg(regs, is_compat(), 2));
}

ENTER(openat2)
{
	__u64 flags = 0;

	bpf_probe_read_user(&flags, sizeof(flags), (void *)arg(regs, is_compat(), 2));
	return opening(flags);
}

ENTER(creat)
{
	return opening(O_TRUNC);
}

/* Of every call that opens. */
EXIT(open)
{
	__u64 thread = bpf_get_current_pid_tgid();
	bool emptied = bpf_map_delete_elem(&file_calls, &thread) == 0;

	if (ret < 0)
		return 0;
	struct file *file = file_of((void *)bpf_get_current_task(), ret);
	if (!file)
		return 0;
	__u32 mode = BPF_CORE_READ(file, f_mode);
	if (!(mode & FMODE_CREATED) && !(emptied && (mode & FMODE_WRITE)))
		return 0;
	if (!is_regular(file) || is_excluded(thread >> 32, HOOK_OPEN))
		return 0;
	return report_file((__u64)file, mode & FMODE_CREATED ? FILE_CREATE : FILE_OVERWRITE, HOOK_OPEN);
}

/* ---- calls that name paths ---- */

/* Of every call that names paths: reports it if it succeeded. */
EXIT(path)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct file_call *known = bpf_map_lookup_elem(&file_calls, &thread);

	if (!known)
		return 0;
	struct file_call call = *known;
	bpf_map_delete_elem(&file_calls, &thread);
	if (ret < 0)
		return 0;
	struct file_scratch *scratch = begin(call.op);
	if (!scratch)
		return 0;
	read_paths(scratch, call.dfd, call.name, call.dfd2, call.name2, SPACE_USER);
	finish(scratch, call.hook);
	return 0;
}

#define PATH_CALL(name, hook, op, dfd, path, dfd2, path2)                   \
	ENTER(name)                                                         \
	{                                                                   \
		bool compat = is_compat();                                  \
                                                                            \
		return remember(op, dfd, path, dfd2, path2, hook);          \
	}

#define ARG(at) arg(regs, compat, at)
PATH_CALL(rename, HOOK_RENAME, FILE_RENAME, AT_FDCWD, ARG(0), AT_FDCWD, ARG(1))
PATH_CALL(renameat, HOOK_RENAME, FILE_RENAME, ARG(0), ARG(1), ARG(2), ARG(3))
PATH_CALL(unlink, HOOK_UNLINK, FILE_UNLINK, AT_FDCWD, ARG(0), 0, 0)
PATH_CALL(unlinkat, HOOK_UNLINK, ARG(2) & AT_REMOVEDIR ? FILE_RMDIR : FILE_UNLINK, ARG(0), ARG(1), 0, 0)
PATH_CALL(rmdir, HOOK_UNLINK, FILE_RMDIR, AT_FDCWD, ARG(0), 0, 0)
PATH_CALL(link, HOOK_LINK, FILE_LINK, AT_FDCWD, ARG(0), AT_FDCWD, ARG(1))
PATH_CALL(linkat, HOOK_LINK, FILE_LINK, ARG(0), ARG(1), ARG(2), ARG(3))
/* The first name of a symbolic link is only text. */
PATH_CALL(symlink, HOOK_LINK, FILE_SYMLINK, AT_FDCWD, ARG(0), AT_FDCWD, ARG(1))
PATH_CALL(symlinkat, HOOK_LINK, FILE_SYMLINK, AT_FDCWD, ARG(0), ARG(1), ARG(2))
