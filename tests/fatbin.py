#!/usr/bin/python3
"""What a CUDA library's .nv_fatbin section (stdin) has for each of its files, a line a file: "elf 80, elf 90, ptx 90".

A file's part begins with a header: magic, version (2 bytes), its own length (2), the length of what follows (8). There, entry after
entry: kind (2; 1 is PTX, 2 ELF), version (2), the header's length (4), the length of what follows it (8), and at byte 28 the number
in sm_NUMBER. Not documented; cuobjdump, which says the same, is not everywhere where nvcc is.
"""
import struct
import sys

MAGIC = 0xBA55ED50
data = sys.stdin.buffer.read()
at = 0
while at < len(data):
    magic, _, header, length = struct.unpack_from('<IHHQ', data, at)
    assert magic == MAGIC, f'byte {at}: no header of a file'
    at += header
    end = at + length
    entries = []
    while at < end:
        kind, _, header, length = struct.unpack_from('<HHIQ', data, at)
        card, = struct.unpack_from('<I', data, at + 28)
        entries.append(f'{ {1: "ptx", 2: "elf"}[kind] } {card}')
        at += header + length
    print(', '.join(sorted(entries)))
