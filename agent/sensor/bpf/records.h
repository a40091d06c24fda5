/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/*
 * The records that the probes hand to the sensor. src/raw.rs holds the same layouts; both sides check the sizes when
 * they are compiled. Texts follow the fixed part; their lengths stand in it.
 */
#ifndef BEFFROI_RECORDS_H
#define BEFFROI_RECORDS_H

#include <linux/types.h>

enum kind {
	KIND_EXEC = 1,
	KIND_FORK = 2,
	KIND_EXIT = 3,
	KIND_FILE = 4,
	KIND_NET = 5,
};

/* One counter set each; src/hooks.rs has the same order. */
enum hook {
	HOOK_EXEC = 0,
	HOOK_FORK = 1,
	HOOK_EXIT = 2,
	HOOK_OPEN = 3,
	HOOK_CLOSE = 4,
	HOOK_RENAME = 5,
	HOOK_UNLINK = 6,
	HOOK_LINK = 7,
	HOOK_CONNECT = 8,
	HOOK_ACCEPT = 9,
	HOOK_LISTEN = 10,
	HOOK_SEND = 11,
	HOOK_URING = 12,
	HOOKS = 13,
};

/* Something was cut. */
#define FLAG_ARGS_CUT (1 << 0)
#define FLAG_PATH_CUT (1 << 1)
/* Some pages of the arguments could not be read. */
#define FLAG_ARGS_HOLE (1 << 2)
/* Asked for through io_uring; whether it succeeded is not known. */
#define FLAG_URING (1 << 3)

/* A path that is walked is stored as its components from the leaf to the root, each ending in NUL. */
#define MAX_NAME 256
#define MAX_PATH 4096
/* Room for the walked paths and the strings before the arguments of an exec record. */
#define EXEC_TEXT (4 * MAX_PATH)
/* Arguments of one exec: execve allows 2 MiB, the contract one text of 128 KiB. */
#define MAX_ARGS (128 * 1024)
#define FILE_TEXT (4 * MAX_PATH)

struct header {
	__u32 size;
	__u16 kind;
	__u16 flags;
	__u64 ts;    /* CLOCK_BOOTTIME, ns */
	__u64 start; /* of the process, since boot, ns */
	__u32 tgid;
	__u32 tid;
	__u32 uid;
	__u32 gid;
	__u32 euid;
	__u32 loginuid;
	__u32 sessionid;
	__u32 ppid;
	__u64 pstart;
	__u64 cgroup;
};
_Static_assert(sizeof(struct header) == 72, "src/raw.rs has the same size");

struct exec_record {
	struct header header;
	char comm[16];
	__u32 exe_len;    /* walked path of the executable */
	__u32 cwd_len;    /* walked path of the working directory */
	__u32 given_len;  /* path as given to execve */
	__u32 cgroup_len; /* name of the control group's last folder */
	__u32 args_len;   /* arguments, each ending in NUL */
	__u32 args_total; /* bytes of arguments before any cut */
};
_Static_assert(sizeof(struct exec_record) == 112, "src/raw.rs has the same size");

struct fork_record {
	struct header header; /* of the child */
	char comm[16];
};
_Static_assert(sizeof(struct fork_record) == 88, "src/raw.rs has the same size");

struct exit_record {
	struct header header;
	__u32 status; /* as wait(2) gives it */
	__u32 unused;
};
_Static_assert(sizeof(struct exit_record) == 80, "src/raw.rs has the same size");

enum file_op {
	FILE_CREATE = 1,
	FILE_OVERWRITE = 2,
	FILE_WRITE_CLOSE = 3,
	FILE_RENAME = 4,
	FILE_UNLINK = 5,
	FILE_RMDIR = 6,
	FILE_LINK = 7,
	FILE_SYMLINK = 8,
};

struct file_record {
	struct header header;
	__u32 op;
	__u32 base_len;   /* walked: the file itself, or the folder that `name` starts from */
	__u32 name_len;   /* argument of the call, NUL included; 0 when base is the file itself */
	__u32 base2_len;  /* the same for the new name of rename and link */
	__u32 name2_len;
	__u32 unused;
};
_Static_assert(sizeof(struct file_record) == 96, "src/raw.rs has the same size");

enum net_op {
	NET_CONNECT = 1,
	NET_ACCEPT = 2,
	NET_LISTEN = 3,
	NET_BIND = 4,
	NET_SEND = 5,
};

enum net_result {
	NET_DONE = 0,
	NET_FAILED = 1,
	NET_PENDING = 2,
};

struct net_record {
	struct header header;
	__u16 op;
	__u16 result;
	__u16 family;
	__u16 protocol;
	__u16 sport; /* host order */
	__u16 dport;
	__u32 unused;
	__u8 saddr[16]; /* IPv4 in the first four bytes */
	__u8 daddr[16];
};
_Static_assert(sizeof(struct net_record) == 120, "src/raw.rs has the same size");

struct counters {
	__u64 seen;      /* the hook found something to report */
	__u64 submitted; /* it is in the ring */
	__u64 dropped;   /* the ring was full */
	__u64 oversized; /* it was cut to fit */
	__u64 excluded;  /* the agent's own */
};

#endif
