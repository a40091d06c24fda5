// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Files: created, overwritten, closed after writing, renamed, removed, linked.
 *
 * Opened files are reported by the kernel's own path (walked from the descriptor). Renames, removals and links are
 * reported after the call succeeded, as the folder the name starts from plus the name as the caller gave it.
 */
#include "common.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} activity_ring SEC(".maps");

struct file_scratch {
	struct walk walk;
	__u32 first_fd; /* range that is closed; in memory for the reason that `struct walk` gives */
	__u32 last_fd;
	struct file_record record;
	char text[FILE_TEXT + MAX_PATH];
};

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct file_scratch);
} file_scratches SEC(".maps");

/* A call that was entered and has not returned. Threads that die inside the call are pushed out by age. */
struct file_call {
	__u32 op;
	__s32 dfd;
	__s32 dfd2;
	__u32 unused;
	__u64 name;
	__u64 name2;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct file_call);
} file_calls SEC(".maps");

#define AT_FDCWD -100
#define AT_REMOVEDIR 0x200
#define O_TRUNC 01000
#define FMODE_WRITE 0x2
#define FMODE_CREATED 0x100000
#define S_IFMT 0170000
#define S_IFREG 0100000
#define CGROUP_SUPER_MAGIC 0x27e0eb
#define CGROUP2_SUPER_MAGIC 0x63677270
/* Descriptors that are looked at when a process ends. */
#define MAX_FDS 256

static __always_inline struct file *file_of(struct task_struct *task, __u32 fd)
{
	struct fdtable *table = BPF_CORE_READ(task, files, fdt);
	struct file *file = NULL;

	if (fd < BPF_CORE_READ(table, max_fds))
		bpf_probe_read_kernel(&file, sizeof(file), BPF_CORE_READ(table, fd) + fd);
	return file;
}

static __always_inline bool is_regular(struct file *file)
{
	return (BPF_CORE_READ(file, f_inode, i_mode) & S_IFMT) == S_IFREG;
}

static __always_inline struct file_scratch *begin(__u32 op)
{
	__u32 zero = 0;
	struct file_scratch *scratch = bpf_map_lookup_elem(&file_scratches, &zero);

	if (!scratch)
		return NULL;
	scratch->walk.off = 0;
	scratch->walk.cut = 0;
	fill_header(&scratch->record.header, (void *)bpf_get_current_task(), KIND_FILE);
	scratch->record.op = op;
	scratch->record.name_len = 0;
	scratch->record.base2_len = 0;
	scratch->record.name2_len = 0;
	return scratch;
}

static __always_inline void finish(struct file_scratch *scratch, __u32 hook)
{
	__u32 size = sizeof(scratch->record) + scratch->walk.off;

	if (size > sizeof(scratch->record) + FILE_TEXT + MAX_PATH)
		return;
	if (scratch->walk.cut) {
		scratch->record.header.flags |= FLAG_PATH_CUT;
		COUNT(hook, oversized);
	}
	scratch->record.header.size = size;
	send(&activity_ring, &scratch->record, size, hook);
}

/* Reports an open file by its own path. Global, so that the verifier looks at it once and not at every call. */
__noinline int report_file(__u64 address, __u32 op, __u32 hook)
{
	struct file *file = (void *)address;
	struct file_scratch *scratch = begin(op);

	if (!scratch || hook >= HOOKS)
		return 0;
	walk_path(&scratch->walk, scratch->text, FILE_TEXT, __builtin_preserve_access_index(&file->f_path));
	scratch->record.base_len = scratch->walk.off;
	finish(scratch, hook);
	return 0;
}

/* A file opened for writing whose last descriptor goes, or that stays mapped for writing when the descriptor goes. */
static __always_inline bool ends_writing(struct file *file)
{
	struct inode *inode = BPF_CORE_READ(file, f_inode);
	struct file___before_6_13 *older = (void *)file;
	long others;

	if (!(BPF_CORE_READ(file, f_mode) & FMODE_WRITE) || !is_regular(file) || BPF_CORE_READ(inode, i_nlink) == 0)
		return false;
	unsigned long magic = BPF_CORE_READ(inode, i_sb, s_magic);
	if (magic == CGROUP_SUPER_MAGIC || magic == CGROUP2_SUPER_MAGIC)
		return false;
	/* f_ref counts from 0, f_count from 1. */
	if (bpf_core_field_exists(file->f_ref))
		others = BPF_CORE_READ(file, f_ref.refcnt.counter);
	else
		others = BPF_CORE_READ(older, f_count.counter) - 1;
	return others <= 0 || BPF_CORE_READ(file, f_mapping, i_mmap_writable.counter) > 0;
}

static __always_inline int closing(__u32 fd)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct file *file = file_of(task, fd);

	if (file && ends_writing(file) && !is_excluded(bpf_get_current_pid_tgid() >> 32, HOOK_CLOSE))
		report_file((__u64)file, FILE_WRITE_CLOSE, HOOK_CLOSE);
	return 0;
}

SEC("tp/syscalls/sys_enter_close")
int enter_close(struct sys_enter *ctx)
{
	return closing(ctx->args[0]);
}

/* The descriptor that is replaced is closed. */
SEC("tp/syscalls/sys_enter_dup2")
int enter_dup2(struct sys_enter *ctx)
{
	return ctx->args[0] == ctx->args[1] ? 0 : closing(ctx->args[1]);
}

SEC("tp/syscalls/sys_enter_dup3")
int enter_dup3(struct sys_enter *ctx)
{
	return closing(ctx->args[1]);
}

/* Closes of a range and of a process that ends: every descriptor below MAX_FDS is looked at. */
static __always_inline void closing_many(struct task_struct *task, __u32 first, __u32 last)
{
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
		if (!(word >> (fd % 64) & 1) || fd < scratch->first_fd || fd > scratch->last_fd)
			continue;
		struct file *file = file_of(task, fd);
		if (file && ends_writing(file))
			report_file((__u64)file, FILE_WRITE_CLOSE, HOOK_CLOSE);
	}
}

SEC("tp/syscalls/sys_enter_close_range")
int enter_close_range(struct sys_enter *ctx)
{
	/* Any flag means that nothing is closed now (close on exec) or that the table is copied first. */
	if (ctx->args[2] == 0)
		closing_many((void *)bpf_get_current_task(), ctx->args[0], ctx->args[1]);
	return 0;
}

SEC("tp_btf/sched_process_exit")
int BPF_PROG(exit_closes, struct task_struct *task)
{
	struct files_struct *files = BPF_CORE_READ(task, files);

	/* Shared tables stay open until the last user goes. */
	if (files && BPF_CORE_READ(files, count.counter) == 1)
		closing_many(task, 0, MAX_FDS);
	return 0;
}

static __always_inline void remember(__u32 op, __s32 dfd, __u64 name, __s32 dfd2, __u64 name2, __u32 hook)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct file_call call = { .op = op, .dfd = dfd, .dfd2 = dfd2, .name = name, .name2 = name2 };

	if (!is_excluded(thread >> 32, hook))
		bpf_map_update_elem(&file_calls, &thread, &call, BPF_ANY);
}

/* ---- open ---- */

static __always_inline int opening(__u64 flags)
{
	/* Creation is read from the file itself; that it was emptied only the flags tell. */
	if (flags & O_TRUNC)
		remember(FILE_OVERWRITE, 0, 0, 0, 0, HOOK_OPEN);
	return 0;
}

static __always_inline int opened(struct sys_exit *ctx)
{
	__u64 thread = bpf_get_current_pid_tgid();
	bool emptied = bpf_map_delete_elem(&file_calls, &thread) == 0;

	if (ctx->ret < 0)
		return 0;
	struct file *file = file_of((void *)bpf_get_current_task(), ctx->ret);
	if (!file)
		return 0;
	__u32 mode = BPF_CORE_READ(file, f_mode);
	if (!(mode & FMODE_CREATED) && !(emptied && (mode & FMODE_WRITE)))
		return 0;
	if (!is_regular(file) || is_excluded(thread >> 32, HOOK_OPEN))
		return 0;
	return report_file((__u64)file, mode & FMODE_CREATED ? FILE_CREATE : FILE_OVERWRITE, HOOK_OPEN);
}

#define OPEN(name, flags)                              \
	SEC("tp/syscalls/sys_enter_" #name)            \
	int enter_##name(struct sys_enter *ctx)        \
	{                                              \
		return opening(flags);                 \
	}                                              \
	SEC("tp/syscalls/sys_exit_" #name)             \
	int exit_##name(struct sys_exit *ctx)          \
	{                                              \
		return opened(ctx);                    \
	}

static __always_inline __u64 flags_of_how(unsigned long how)
{
	__u64 flags = 0;

	bpf_probe_read_user(&flags, sizeof(flags), (void *)how);
	return flags;
}

OPEN(open, ctx->args[1])
OPEN(openat, ctx->args[2])
OPEN(openat2, flags_of_how(ctx->args[2]))
OPEN(creat, O_TRUNC)

/* ---- calls that name paths ---- */

static __always_inline __u32 read_name(struct file_scratch *scratch, __u64 from)
{
	__u32 off = scratch->walk.off;

	if (off > FILE_TEXT)
		return 0;
	long len = bpf_probe_read_user_str(scratch->text + off, MAX_PATH, (void *)from);
	if (len <= 0)
		return 0;
	scratch->walk.off = off + len;
	return len;
}

/* The folder that a name starts from: the root for absolute names (a chroot has its own), else descriptor or cwd. */
static __always_inline void walk_base(struct file_scratch *scratch, __s32 dfd, __u64 name)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	struct path *path;
	char first = 0;

	bpf_probe_read_user(&first, 1, (void *)name);
	if (first == '/') {
		path = __builtin_preserve_access_index(&fs->root);
	} else if (dfd == AT_FDCWD) {
		path = __builtin_preserve_access_index(&fs->pwd);
	} else {
		struct file *file = file_of(task, dfd);

		path = __builtin_preserve_access_index(&file->f_path);
	}
	walk_path(&scratch->walk, scratch->text, FILE_TEXT, path);
}

/* Global for the same reason as report_file. */
__noinline int report_call(__s64 ret, __u32 hook)
{
	__u64 thread = bpf_get_current_pid_tgid();
	struct file_call *known = bpf_map_lookup_elem(&file_calls, &thread);

	if (!known || hook >= HOOKS)
		return 0;
	struct file_call call = *known;
	bpf_map_delete_elem(&file_calls, &thread);
	if (ret < 0)
		return 0;
	struct file_scratch *scratch = begin(call.op);
	if (!scratch)
		return 0;
	struct file_record *record = &scratch->record;

	walk_base(scratch, call.dfd, call.name);
	record->base_len = scratch->walk.off;
	record->name_len = read_name(scratch, call.name);
	if (call.name2) {
		__u32 before = scratch->walk.off;

		walk_base(scratch, call.dfd2, call.name2);
		record->base2_len = scratch->walk.off - before;
		record->name2_len = read_name(scratch, call.name2);
	}
	finish(scratch, hook);
	return 0;
}

#define CALL(name, hook, op, dfd, path, dfd2, path2)                \
	SEC("tp/syscalls/sys_enter_" #name)                         \
	int enter_##name(struct sys_enter *ctx)                     \
	{                                                           \
		remember(op, dfd, path, dfd2, path2, hook);         \
		return 0;                                           \
	}                                                           \
	SEC("tp/syscalls/sys_exit_" #name)                          \
	int exit_##name(struct sys_exit *ctx)                       \
	{                                                           \
		return report_call(ctx->ret, hook);                     \
	}

#define ARG(n) ctx->args[n]
CALL(rename, HOOK_RENAME, FILE_RENAME, AT_FDCWD, ARG(0), AT_FDCWD, ARG(1))
CALL(renameat, HOOK_RENAME, FILE_RENAME, ARG(0), ARG(1), ARG(2), ARG(3))
CALL(renameat2, HOOK_RENAME, FILE_RENAME, ARG(0), ARG(1), ARG(2), ARG(3))
CALL(unlink, HOOK_UNLINK, FILE_UNLINK, AT_FDCWD, ARG(0), 0, 0)
CALL(unlinkat, HOOK_UNLINK, ARG(2) & AT_REMOVEDIR ? FILE_RMDIR : FILE_UNLINK, ARG(0), ARG(1), 0, 0)
CALL(rmdir, HOOK_UNLINK, FILE_RMDIR, AT_FDCWD, ARG(0), 0, 0)
CALL(link, HOOK_LINK, FILE_LINK, AT_FDCWD, ARG(0), AT_FDCWD, ARG(1))
CALL(linkat, HOOK_LINK, FILE_LINK, ARG(0), ARG(1), ARG(2), ARG(3))
/* The first name of a symbolic link is only text. */
CALL(symlink, HOOK_LINK, FILE_SYMLINK, AT_FDCWD, ARG(0), AT_FDCWD, ARG(1))
CALL(symlinkat, HOOK_LINK, FILE_SYMLINK, AT_FDCWD, ARG(0), ARG(1), ARG(2))
