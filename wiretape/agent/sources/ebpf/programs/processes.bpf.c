/* SPDX-License-Identifier: Apache-2.0 OR GPL-2.0-only
 *
 * Whose calls are looked at. SELECT_PIDS, SELECT_NAMES and SELECT_CGROUPS tell how many of each were
 * named; of several conditions, all must hold. Without any, all processes are chosen but the agent,
 * whose number is AGENT.
 */

struct process {
	u8 descends; /* is one of the named processes, or a descendant */
	u8 named;    /* has one of the names */
};

struct name {
	char text[16];
};

struct group {
	u64 id;
	u32 level; /* below the root of the cgroup v2 hierarchy */
	u32 unused;
};

#if SELECT_PIDS || SELECT_NAMES
#define SELECT_PROCESSES 1
/* Only processes of which something holds. */
BPF_HASH(processes, u32, struct process, 32768);
#else
#define SELECT_PROCESSES 0
#endif
#if SELECT_NAMES
BPF_HASH(names, struct name, u8, SELECT_NAMES);
#endif
#if SELECT_CGROUPS
BPF_ARRAY(groups, struct group, SELECT_CGROUPS);
#endif

/* What a process was told of once: (process << 8 | reason). */
BPF_TABLE("lru_hash", u64, u8, noticed, 4096);

INLINE int is_in_group(void)
{
#if SELECT_CGROUPS
#pragma unroll
	for (int n = 0; n < SELECT_CGROUPS; n++) {
		int key = n;
		struct group *group = groups.lookup(&key);

		if (group && bpf_get_current_ancestor_cgroup_id(group->level) == group->id)
			return 1;
	}
	return 0;
#else
	return 1;
#endif
}

INLINE int is_chosen(void)
{
	u32 pid = bpf_get_current_pid_tgid() >> 32;

	if (pid == AGENT)
		return 0;
#if SELECT_PROCESSES
	struct process *process = processes.lookup(&pid);

	if (!process)
		return 0;
#if SELECT_PIDS
	if (!process->descends)
		return 0;
#endif
#if SELECT_NAMES
	if (!process->named)
		return 0;
#endif
#endif
	return is_in_group();
}

INLINE u64 notice_key(u32 process, u8 reason)
{
	return (u64)process << 8 | reason;
}

/* Once for each process and reason. */
INLINE void notice(u8 reason)
{
	u64 key = notice_key(bpf_get_current_pid_tgid() >> 32, reason);
	struct event event;
	u8 yes = 1;

	if (noticed.lookup(&key))
		return;
	begin(&event, NOTICE, 0);
	event.reason = reason;
	if (tell(&event, 0))
		noticed.update(&key, &yes);
}

INLINE int uses_io_uring(void)
{
	u64 key = notice_key(bpf_get_current_pid_tgid() >> 32, USES_IO_URING);

	return noticed.lookup(&key) != NULL;
}

/* The process of this number is another one. */
INLINE void forget_notices(u32 process)
{
	u64 ring = notice_key(process, USES_IO_URING), narrow = notice_key(process, IS_32_BIT);

	noticed.delete(&ring);
	noticed.delete(&narrow);
}

/* arguments: the parent's and the child's task_struct */
int sched_process_fork(struct bpf_raw_tracepoint_args *context)
{
	u32 parent = bpf_get_current_pid_tgid() >> 32;
	u32 child = read_u32(context->args[1] + AT_TASK_TGID);

	if (child == parent)
		return 0; /* a thread */
	forget_notices(child);
#if SELECT_PROCESSES
	struct process *process = processes.lookup(&parent);

	if (process) {
		struct process same = *process;

		processes.update(&child, &same);
	}
#endif
	return 0;
}

/* arguments: a task_struct, and its name to be; at exec, and where one names itself */
int task_rename(struct bpf_raw_tracepoint_args *context)
{
#if SELECT_NAMES
	u64 task = context->args[0];
	u32 pid = read_u32(task + AT_TASK_TGID);

	if (pid != read_u32(task + AT_TASK_PID))
		return 0; /* a thread's name is not the process's */
	struct name name = {};
	struct process now = {};
	struct process *process = processes.lookup(&pid);

	bpf_probe_read_kernel_str(&name, sizeof(name), (void *)context->args[1]);
	if (process)
		now = *process;
	now.named = names.lookup(&name) != NULL;
	if (now.named || now.descends)
		processes.update(&pid, &now);
	else if (process)
		processes.delete(&pid);
#endif
	return 0;
}
