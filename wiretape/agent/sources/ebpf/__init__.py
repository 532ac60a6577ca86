"""Plaintext of sockets with who passed it, from programs in the kernel (bcc): `source.EbpfSource`.

Nothing is imported here: the process that attaches to libraries does without most of it.
"""
