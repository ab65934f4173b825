#!/usr/bin/python3
"""Small .npz files for the tests, by hand, so that each may be wrong in its own way.

    npz.py OUT [--deflate] NAME=DESCR:SHAPE:VALUES...

VALUES are numbers (or, for U and S, words) between commas, repeated until the shape is filled; SHAPE is like 3x5, or nothing for ().
A DESCR of raw:HEX makes an entry of these bytes instead. Nothing is checked.
"""
import itertools
import struct
import sys
import zipfile


def data(descr, shape, values):
    kind, size = descr[1], int(descr[2:])
    count = 1
    for n in shape:
        count *= n
    values = list(itertools.islice(itertools.cycle(values.split(',')), count))
    if kind == 'U':
        return b''.join(v.encode('utf-32-le').ljust(4 * size, b'\0') for v in values)
    if kind == 'S':
        return b''.join(v.encode().ljust(size, b'\0') for v in values)
    if kind == 'f':
        return struct.pack('<%d%s' % (count, {2: 'e', 4: 'f', 8: 'd'}[size]), *map(float, values))
    return b''.join(int(v).to_bytes(size, 'little', signed=kind == 'i') for v in values)


def array(text):
    descr, shape, values = text.split(':', 2)
    if descr == 'raw':
        return bytes.fromhex(shape + values)
    order = descr.endswith('F')
    descr = descr.rstrip('F')
    dims = [int(n) for n in shape.split('x')] if shape else []
    header = "{'descr': '%s', 'fortran_order': %s, 'shape': (%s), }" % (descr, order, ''.join('%d, ' % n for n in dims))
    header += ' ' * (-(len(header) + 11) % 64) + '\n'
    return b'\x93NUMPY\x01\x00' + struct.pack('<H', len(header)) + header.encode() + data(descr, dims, values)


out, *arrays = sys.argv[1:]
method = zipfile.ZIP_STORED
if arrays[0] == '--deflate':
    method = zipfile.ZIP_DEFLATED
    arrays.pop(0)
with zipfile.ZipFile(out, 'w', method) as archive:
    for each in arrays:
        name, text = each.split('=', 1)
        archive.writestr(zipfile.ZipInfo(name + '.npy'), array(text), method)
