"""What both programs ask of the kernel: eBPF programs compiled, loaded, and reached by bpf(2)."""
