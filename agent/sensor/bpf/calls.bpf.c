// SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause
/*
 * Every system call passes here on its way in and out, and goes on to the program for its number, where there is one.
 * The sensor fills the tables (src/calls.rs holds the numbers): native calls first, then those of the 32-bit table.
 */
#include "common.h"

/* Numbers of one table; the highest known is below 500. */
#define TABLE 1024

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2 * TABLE);
	__type(key, __u32);
	__type(value, __u32);
} enter_calls SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2 * TABLE);
	__type(key, __u32);
	__type(value, __u32);
} exit_calls SEC(".maps");

/*
 * Which numbers mean something here in either table, on which way. Set before the programs are loaded, so that the others,
 * which are most calls of a busy host, leave after one load and one comparison.
 */
const volatile __u8 wanted[TABLE] = {};
#define ON_THE_WAY_IN 1
#define ON_THE_WAY_OUT 2

/* Where a number's program stands; behind both tables, where nothing is, when it has none. */
static __always_inline __u32 place_of(__u64 number, __u8 way)
{
	if (number >= TABLE || !(wanted[number] & way))
		return 2 * TABLE;
	return is_compat() ? TABLE + number : number;
}

SEC("tp_btf/sys_enter")
int BPF_PROG(on_enter, const struct pt_regs *regs, long id)
{
	__u32 place = place_of(id, ON_THE_WAY_IN);

	if (place < 2 * TABLE)
		bpf_tail_call(ctx, &enter_calls, place);
	return 0;
}

SEC("tp_btf/sys_exit")
int BPF_PROG(on_leave, const struct pt_regs *regs, long ret)
{
#if defined(__TARGET_ARCH_x86)
	__u32 place = place_of(regs->orig_ax, ON_THE_WAY_OUT);
#else
	__u32 place = place_of(regs->syscallno, ON_THE_WAY_OUT);
#endif

	if (place < 2 * TABLE)
		bpf_tail_call(ctx, &exit_calls, place);
	return 0;
}
