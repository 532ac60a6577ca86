/* LINUX_VERSION_CODE comes with the command: the version of the kernel that runs. */
#define KERNEL_VERSION(a, b, c) (((a) << 16) + ((b) << 8) + ((c) > 255 ? 255 : (c)))
