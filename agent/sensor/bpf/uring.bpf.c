// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * What programs ask of io_uring instead of a system call: files opened to be made or emptied, closed, renamed, removed,
 * linked; datagrams sent and connected. TCP needs nothing here: its states are seen whoever asks.
 *
 * Reported when it is asked for and marked so (FLAG_URING): the outcome may never be told to anyone (a request can say that
 * its success is not to be posted), so waiting for it would be a way around the sensor. Kernels before 6.4 name this
 * tracepoint otherwise; there the hook is off.
 */
#include "file.h"
#include "net.h"

#define OP_SENDMSG 9
#define OP_CONNECT 16
#define OP_OPENAT 18
#define OP_CLOSE 19
#define OP_SEND 26
#define OP_OPENAT2 28
#define OP_RENAMEAT 35
#define OP_UNLINKAT 36
#define OP_SYMLINKAT 38
#define OP_LINKAT 39
#define OP_SEND_ZC 47
#define OP_SENDMSG_ZC 48
/* The request names its file by its place in a table of the ring instead of a descriptor. */
#define REQ_FIXED_FILE 1

/* A request about one or two paths. */
struct wish {
	__u32 op; /* enum file_op; 0 for a request that is not reported */
	__s32 dfd;
	__s32 dfd2;
	struct filename *name;
	struct filename *name2;
};

static __always_inline void wish_open(struct wish *wish, struct io_open *open)
{
	__u64 flags = BPF_CORE_READ(open, how.flags);

	/* Whether the file is there already is not known yet: a wish to make it counts as making it. */
	if (flags & (O_CREAT | O_TRUNC))
		wish->op = flags & O_CREAT ? FILE_CREATE : FILE_OVERWRITE;
	wish->dfd = BPF_CORE_READ(open, dfd);
	wish->name = BPF_CORE_READ(open, filename);
}

static __always_inline void wish_unlink(struct wish *wish, struct io_unlink *unlink)
{
	wish->op = BPF_CORE_READ(unlink, flags) & AT_REMOVEDIR ? FILE_RMDIR : FILE_UNLINK;
	wish->dfd = BPF_CORE_READ(unlink, dfd);
	wish->name = BPF_CORE_READ(unlink, filename);
}

static __always_inline void wish_rename(struct wish *wish, struct io_rename *rename)
{
	wish->op = FILE_RENAME;
	wish->dfd = BPF_CORE_READ(rename, old_dfd);
	wish->name = BPF_CORE_READ(rename, oldpath);
	wish->dfd2 = BPF_CORE_READ(rename, new_dfd);
	wish->name2 = BPF_CORE_READ(rename, newpath);
}

static __always_inline void wish_link(struct wish *wish, struct io_link *link, __u32 op)
{
	wish->op = op;
	wish->dfd = op == FILE_SYMLINK ? AT_FDCWD : BPF_CORE_READ(link, old_dfd);
	wish->name = BPF_CORE_READ(link, oldpath);
	wish->dfd2 = BPF_CORE_READ(link, new_dfd);
	wish->name2 = BPF_CORE_READ(link, newpath);
}

/* One place for all of them: the verifier follows each walk of a path by itself. */
static __always_inline void report_wish(struct wish *wish)
{
	struct filename *name = wish->name, *name2 = wish->name2;
	struct file_scratch *scratch;

	if (!wish->op || !name || is_excluded(bpf_get_current_pid_tgid() >> 32, HOOK_URING))
		return;
	scratch = begin(wish->op);
	if (!scratch)
		return;
	scratch->record.header.flags |= FLAG_URING;
	read_paths(scratch, wish->dfd, (__u64)BPF_CORE_READ(name, name), wish->dfd2,
		   name2 ? (__u64)BPF_CORE_READ(name2, name) : 0, SPACE_KERNEL);
	finish(scratch, HOOK_URING);
}

static __always_inline void ask_close(struct io_close *close)
{
	/* A file in the ring's own table has no descriptor. */
	if (BPF_CORE_READ(close, file_slot) == 0)
		closing(BPF_CORE_READ(close, fd));
}

static __always_inline void ask_datagram(struct io_kiocb *req, const void *address, __u32 len, enum space space, __u32 op)
{
	const struct sock *sk = BPF_CORE_READ(req, flags) & REQ_FIXED_FILE ? NULL : sock_of(BPF_CORE_READ(req, cqe.fd));
	struct destination to = {};

	if (address && is_datagram(sk) && read_destination(&to, sk, address, len, space))
		report_to(sk, &to, op, HOOK_URING, FLAG_URING);
}

SEC("tp_btf/io_uring_submit_req")
int BPF_PROG(on_submit, struct io_kiocb *req)
{
	struct io_async_msghdr *message;
	struct wish wish = {};

	/* Most requests read and write: they match nothing here. */
	__u8 op = req->opcode;
	switch (op) {
	case OP_OPENAT:
	case OP_OPENAT2:
		wish_open(&wish, (void *)req);
		break;
	case OP_CLOSE:
		ask_close((void *)req);
		break;
	case OP_UNLINKAT:
		wish_unlink(&wish, (void *)req);
		break;
	case OP_RENAMEAT:
		wish_rename(&wish, (void *)req);
		break;
	case OP_SYMLINKAT:
		wish_link(&wish, (void *)req, FILE_SYMLINK);
		break;
	case OP_LINKAT:
		wish_link(&wish, (void *)req, FILE_LINK);
		break;
	case OP_CONNECT: {
		struct io_connect *connect = (void *)req;

		ask_datagram(req, BPF_CORE_READ(connect, addr), BPF_CORE_READ(connect, addr_len), SPACE_USER, NET_CONNECT);
		break;
	}
	case OP_SEND:
	case OP_SEND_ZC:
	case OP_SENDMSG:
	case OP_SENDMSG_ZC:
		message = BPF_CORE_READ(req, async_data);
		if (message)
			ask_datagram(req, BPF_CORE_READ(message, msg.msg_name), BPF_CORE_READ(message, msg.msg_namelen),
				     SPACE_KERNEL, NET_SEND);
		break;
	}
	report_wish(&wish);
	return 0;
}
