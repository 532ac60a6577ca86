/* The registers of a process, as the kernel keeps them at a system call or a probe. */
#ifndef WIRETAPE_PTRACE_H
#define WIRETAPE_PTRACE_H

#if defined(__TARGET_ARCH_x86) || defined(__x86_64__)

struct pt_regs {
	unsigned long r15, r14, r13, r12, bp, bx, r11, r10, r9, r8;
	unsigned long ax, cx, dx, si, di, orig_ax, ip, cs, flags, sp, ss;
};

#elif defined(__TARGET_ARCH_arm64) || defined(__aarch64__)

struct user_pt_regs {
	unsigned long regs[31], sp, pc, pstate;
};

struct pt_regs {
	union {
		struct user_pt_regs user_regs;
		struct {
			unsigned long regs[31], sp, pc, pstate;
		};
	};
	unsigned long orig_x0;
	int syscallno;
	unsigned int unused;
};

#else
#error "processors are x86-64 and arm64"
#endif

#endif
