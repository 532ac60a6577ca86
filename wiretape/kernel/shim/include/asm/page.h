/* PAGE_SIZE comes with the command: arm64 kernels have pages of 4, 16 or 64 KiB. */
