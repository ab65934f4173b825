#!/usr/bin/python3
"""Features of the reference's own form and size, 36 regions of 2048 numbers an image: the same for the same arguments.

    obj36.py [--images N] [--first N] [--prefix TEXT] [--regions N] [--features N] [--seed N]

A row an image on stdout, about 395 KB; ids are PREFIX and a number of 12 digits, in an order that is not theirs, as in the real
tables. A third of the features is zero, as behind a rectifier.
"""
import argparse
import array
import base64
import random
import sys

parser = argparse.ArgumentParser()
for name, default in (('images', 100), ('first', 0), ('regions', 36), ('features', 2048), ('seed', 1)):
    parser.add_argument('--' + name, type=int, default=default)
parser.add_argument('--prefix', default='COCO_train2014_')
args = parser.parse_args()
draw = random.Random(args.seed)
assert sys.byteorder == 'little'

R, numbers = args.regions, args.regions * args.features
# One long row of numbers; an image's are a piece of it, for speed.
pool = array.array('f', (max(0, draw.gauss(.4, 1)) for _ in range(min(numbers, 65521))))
while len(pool) < numbers + 65536:
    pool += pool


def text(kind, values):
    return base64.b64encode(array.array(kind, values).tobytes())


order = list(range(args.first, args.first + args.images))
draw.shuffle(order)
for k in order:
    width, height = draw.choice(((640, 480), (480, 640), (500, 375)))
    boxes = []
    for _ in range(R):
        x, y = draw.random() * width / 2, draw.random() * height / 2
        boxes += [x, y, x + draw.random() * width / 2, y + draw.random() * height / 2]
    at = draw.randrange(65536)
    sys.stdout.buffer.write(b'\t'.join((
        b'%s%012d' % (args.prefix.encode(), k), b'%d' % height, b'%d' % width,
        text('q', (draw.randrange(1600) for _ in range(R))), text('f', (draw.random() for _ in range(R))),
        text('q', (draw.randrange(400) for _ in range(R))), text('f', (draw.random() for _ in range(R))),
        b'%d' % R, text('f', boxes), base64.b64encode(pool[at:at + numbers].tobytes()))) + b'\n')
