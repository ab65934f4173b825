"""Safetensors with the standard library alone, for the tests: what the programs write is read by other code than their own."""
import array
import json
import struct

SIZES = {'F64': 8, 'F32': 4, 'F16': 2, 'BF16': 2, 'I64': 8, 'I32': 4}
CODES = {'F64': 'd', 'F32': 'f', 'I32': 'i'}


def load(path):
    """The metadata, and name: (type, shape, bytes)."""
    with open(path, 'rb') as file:
        data = file.read()
    n = struct.unpack('<Q', data[:8])[0]
    header = json.loads(data[8:8 + n])
    meta = header.pop('__metadata__', {})
    tensors = {}
    for name, t in header.items():
        begin, end = t['data_offsets']
        tensors[name] = (t['dtype'], t['shape'], data[8 + n + begin:8 + n + end])
        size = SIZES[t['dtype']]
        for extent in t['shape']:
            size *= extent
        if size != len(tensors[name][2]):
            raise ValueError('%s: %s has %d bytes, expected %d' % (path, name, len(tensors[name][2]), size))
    return meta, tensors


def save(path, tensors, meta=None):
    header, data = {'__metadata__': meta} if meta else {}, b''
    for name, (dtype, shape, raw) in tensors.items():
        header[name] = {'dtype': dtype, 'shape': shape, 'data_offsets': [len(data), len(data) + len(raw)]}
        data += raw
    header = json.dumps(header).encode()
    header += b' ' * (-len(header) % 8)
    with open(path, 'wb') as file:
        file.write(struct.pack('<Q', len(header)) + header + data)


def values(tensor):
    """The numbers of a tensor (type, shape, bytes)."""
    out = array.array(CODES[tensor[0]])
    out.frombytes(tensor[2])
    return out


def numbers(path):
    """name: its numbers."""
    return {name: values(tensor) for name, tensor in load(path)[1].items()}
