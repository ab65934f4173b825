#!/usr/bin/python3
"""alone.py COMMAND...: hands a stream on to the command, and waits for the answer after each question; what the command writes, it writes."""
import os
import select
import subprocess
import sys

import msgpack

SECONDS = 60


def answer(program, answers, id):
    while True:
        for r in answers:
            if r['type'] == 'answer':
                if r['id'] != id:
                    sys.exit('question %d: the answer is to %d' % (id, r['id']))
                return
        if not select.select([program.stdout], [], [], SECONDS)[0]:
            sys.exit('question %d: no answer within %d s' % (id, SECONDS))
        got = os.read(program.stdout.fileno(), 1 << 16)
        if not got:
            sys.exit('question %d: the stream ends without an answer' % id)
        answers.feed(got)
        sys.stdout.buffer.write(got)


program = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0)
answers = msgpack.Unpacker(raw=False, max_buffer_size=1 << 27)
for r in msgpack.Unpacker(sys.stdin.buffer, raw=False, max_buffer_size=1 << 27):
    program.stdin.write(msgpack.packb(r))
    if r['type'] == 'question':
        answer(program, answers, r['id'])
program.stdin.close()
sys.stdout.buffer.write(program.stdout.read())
sys.exit(program.wait())
