/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* What the probes that report files share: the record being made, an open file's own path, names that callers gave. */
#ifndef BEFFROI_FILE_H
#define BEFFROI_FILE_H

#include "activity.h"

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

#define AT_FDCWD -100
#define AT_REMOVEDIR 0x200
#define O_CREAT 0100
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

static __always_inline __u32 read_name(struct file_scratch *scratch, __u64 from, enum space space)
{
	__u32 off = scratch->walk.off;

	if (off > FILE_TEXT)
		return 0;
	long len = space == SPACE_USER ? bpf_probe_read_user_str(scratch->text + off, MAX_PATH, (void *)from)
				       : bpf_probe_read_kernel_str(scratch->text + off, MAX_PATH, (void *)from);
	if (len <= 0)
		return 0;
	scratch->walk.off = off + len;
	return len;
}

/* The folder that a name starts from: the root for absolute names (a chroot has its own), else descriptor or cwd. */
static __always_inline void walk_base(struct file_scratch *scratch, __s32 dfd, __u64 name, enum space space)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct fs_struct *fs = BPF_CORE_READ(task, fs);
	struct path *path;
	char first = 0;

	read_bytes(&first, 1, (void *)name, space);
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

/* The text of a call with one or two paths. */
static __always_inline void read_paths(struct file_scratch *scratch, __s32 dfd, __u64 name, __s32 dfd2, __u64 name2,
				       enum space space)
{
	struct file_record *record = &scratch->record;

	walk_base(scratch, dfd, name, space);
	record->base_len = scratch->walk.off;
	record->name_len = read_name(scratch, name, space);
	if (name2) {
		__u32 before = scratch->walk.off;

		walk_base(scratch, dfd2, name2, space);
		record->base2_len = scratch->walk.off - before;
		record->name2_len = read_name(scratch, name2, space);
	}
}

#endif
