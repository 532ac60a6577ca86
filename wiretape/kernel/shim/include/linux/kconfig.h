/* Included before all else: what of the kernel's configuration bcc asks for. */
#define CONFIG_BPF_SYSCALL 1
