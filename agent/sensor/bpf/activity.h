/* SPDX-License-Identifier: GPL-2.0-only OR BSD-2-Clause */
/* The ring of everything but the life of processes. The objects that use it are given the same one. */
#ifndef BEFFROI_ACTIVITY_H
#define BEFFROI_ACTIVITY_H

#include "common.h"

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 4 << 20);
} activity_ring SEC(".maps");

#endif
