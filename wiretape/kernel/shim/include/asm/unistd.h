/* Numbers of the system calls that are looked at. */
#ifndef WIRETAPE_UNISTD_H
#define WIRETAPE_UNISTD_H

#if defined(__TARGET_ARCH_x86) || defined(__x86_64__)

#define __NR_read 0
#define __NR_write 1
#define __NR_readv 19
#define __NR_writev 20
#define __NR_sendfile 40
#define __NR_connect 42
#define __NR_accept 43
#define __NR_sendto 44
#define __NR_recvfrom 45
#define __NR_sendmsg 46
#define __NR_recvmsg 47
#define __NR_shutdown 48
#define __NR_splice 275
#define __NR_accept4 288
#define __NR_recvmmsg 299
#define __NR_sendmmsg 307
#define __NR_preadv2 327
#define __NR_pwritev2 328

#elif defined(__TARGET_ARCH_arm64) || defined(__aarch64__)

#define __NR_read 63
#define __NR_write 64
#define __NR_readv 65
#define __NR_writev 66
#define __NR_sendfile 71
#define __NR_splice 76
#define __NR_accept 202
#define __NR_connect 203
#define __NR_sendto 206
#define __NR_recvfrom 207
#define __NR_shutdown 210
#define __NR_sendmsg 211
#define __NR_recvmsg 212
#define __NR_accept4 242
#define __NR_recvmmsg 243
#define __NR_sendmmsg 269
#define __NR_preadv2 286
#define __NR_pwritev2 287

#endif

#define __NR_io_uring_setup 425
#define __NR_io_uring_enter 426

#endif
