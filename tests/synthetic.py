#!/usr/bin/python3
"""A stream of random questions about random images, for tests of the training programs: the same for the same arguments.

    synthetic.py [--questions N] [--features N] [--objects N] [--answers N] [--per-image N] [--vocabulary N] [--seed N] [--names]

Labels are answers' indices in decimal, or the answers' names "a0", "a1", … with --names. Questions have 5 to 17 tokens.
"""
import argparse
import random
import struct
import sys

import msgpack

parser = argparse.ArgumentParser()
for name, default in (('questions', 64), ('features', 24), ('objects', 36), ('answers', 11), ('per-image', 5),
                      ('vocabulary', 30522), ('seed', 1)):
    parser.add_argument('--' + name, type=int, default=default)
parser.add_argument('--names', action='store_true')
args = parser.parse_args()
draw = random.Random(args.seed)


def send(record):
    sys.stdout.buffer.write(msgpack.packb(record, use_bin_type=True))


def floats(n):
    """n values of N(0, 1); a long row repeats one short random one, shifted, for speed."""
    row = [draw.gauss(0, 1) for _ in range(min(n, 997))]
    return struct.pack('<%df' % n, *(row * (n // len(row) + 1))[:n])


send({'type': 'header', 'vqa': 1, 'by': 'synthetic.py', 'questions': args.questions, 'source': 'synthetic %d' % args.seed})
for q in range(args.questions):
    if q % args.per_image == 0:
        image = 'image %d' % (q // args.per_image)
        boxes = [draw.random() for _ in range(4 * args.objects)]
        send({'type': 'image', 'id': image, 'n': args.objects, 'width': 64, 'height': 64,
              'boxes': struct.pack('<%df' % len(boxes), *boxes), 'features': floats(args.objects * args.features)})
    tokens = [101] + [draw.randrange(1000, args.vocabulary) for _ in range(draw.randrange(3, 16))] + [102]
    answer = draw.randrange(args.answers)
    send({'type': 'question', 'id': q, 'image': image, 'sent': '', 'tokens': struct.pack('<%di' % len(tokens), *tokens),
          'label': {('a%d' if args.names else '%d') % answer: 1.0}})
send({'type': 'end', 'questions': args.questions})
