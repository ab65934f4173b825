#!/usr/bin/python3
"""A stream with some of its records changed: edit.py 'CODE'

CODE runs for each record r, the n-th (from 1) of the stream; r = None leaves it out, put(RECORD) sends one before it, raw(BYTES)
anything, floats(LIST) and unfloat(BYTES) convert float32. A record goes on as soon as it is there, and a reader that leaves is
noticed at once, so that a training run may pass through.
"""
import os
import select
import signal
import struct
import sys

import msgpack


def raw(data):
    while data:
        data = data[os.write(1, data):]


def put(record):
    raw(msgpack.packb(record))


def floats(values):
    return struct.pack('<%df' % len(values), *values)


def unfloat(data):
    return list(struct.unpack('<%df' % (len(data) // 4), data))


signal.signal(signal.SIGPIPE, signal.SIG_DFL)
poll = select.poll()
poll.register(0, select.POLLIN)
poll.register(1, 0)
code = compile(sys.argv[1], 'CODE', 'exec')
unpacker = msgpack.Unpacker(raw=False, max_buffer_size=1 << 27)
n = 0
while True:
    if any(fd == 1 for fd, _ in poll.poll()):
        break
    got = os.read(0, 1 << 16)
    if not got:
        break
    unpacker.feed(got)
    for r in unpacker:
        n += 1
        exec(code)
        if r is not None:
            put(r)
