"""torch's files with the standard library alone, for the tests: good ones, and parts to build bad ones of."""
import collections
import io
import pickle
import struct
import sys
import types
import zipfile

from safetensors import SIZES

CLASSES = {'F64': 'DoubleStorage', 'F32': 'FloatStorage', 'F16': 'HalfStorage', 'BF16': 'BFloat16Storage', 'I64': 'LongStorage',
           'I32': 'IntStorage'}
MAGIC = 0x1950a86a20f9469cfc6c


def module(name, *functions):
    """A module of which only names are pickled."""
    made = sys.modules[name] = types.ModuleType(name)
    for function in functions:
        function.__module__ = name
        setattr(made, function.__name__, function)


def _rebuild_tensor_v2(*args):
    raise RuntimeError


def _rebuild_parameter(*args):
    raise RuntimeError


module('torch', *(type(name, (), {}) for name in CLASSES.values()))
module('torch._utils', _rebuild_tensor_v2, _rebuild_parameter)


class Storage:
    """Bytes of one type under a key. count is what the pickle says of it."""

    def __init__(self, key, dtype, data, count=None):
        self.key, self.dtype, self.data = key, dtype, data
        self.count = len(data) // SIZES[dtype] if count is None else count


class Tensor:
    def __init__(self, storage, shape, stride=None, offset=0):
        self.storage, self.shape, self.stride, self.offset = storage, shape, stride, offset
        if stride is None:
            self.stride = tuple(self.step(i) for i in range(len(shape)))

    def step(self, i):
        n = 1
        for extent in self.shape[i + 1:]:
            n *= extent
        return n

    def __reduce__(self):
        return _rebuild_tensor_v2, (self.storage, self.offset, self.shape, self.stride, False, collections.OrderedDict())


class Parameter:
    def __init__(self, tensor):
        self.tensor = tensor

    def __reduce__(self):
        return _rebuild_parameter, (self.tensor, True, collections.OrderedDict())


class Pickler(pickle.Pickler):
    def __init__(self, file, protocol, legacy):
        super().__init__(file, protocol)
        self.legacy, self.storages = legacy, {}

    def persistent_id(self, obj):
        if not isinstance(obj, Storage):
            return None
        self.storages[obj.key] = obj
        return ('storage', getattr(sys.modules['torch'], CLASSES[obj.dtype]), obj.key, 'cpu', obj.count) + (None,) * self.legacy


def pickled(obj, protocol=2, legacy=False):
    """Its bytes, and its storages by their keys."""
    file = io.BytesIO()
    pickler = Pickler(file, protocol, legacy)
    pickler.dump(obj)
    return file.getvalue(), pickler.storages


def save_zip(path, obj=None, data=None, entries=None, folder='archive', method=zipfile.ZIP_STORED, byteorder='little', **more):
    """data: the pickle, in obj's place; entries: storages' bytes by key, in place of what they are, None: no entry."""
    made, storages = pickled(obj, **more)
    bytes_of = {key: storage.data for key, storage in storages.items()}
    bytes_of.update(entries or {})
    with zipfile.ZipFile(path, 'w', method) as file:
        file.writestr(folder + '/data.pkl', made if data is None else data)
        if byteorder:
            file.writestr(folder + '/byteorder', byteorder)
        for key, raw in bytes_of.items():
            if raw is not None:
                file.writestr('%s/data/%s' % (folder, key), raw)


def legacy(obj=None, data=None, keys=None, counts=None, magic=MAGIC, version=1001, little=True, protocol=2):
    """The bytes of a legacy file. keys: the list, in place of the storages'; counts: elements by key, in place of what they are."""
    made, storages = pickled(obj, protocol, True)
    keys = sorted(storages) if keys is None else keys
    parts = [pickle.dumps(part, protocol) for part in (magic, version, {'little_endian': little, 'type_sizes': {'int': 4}})]
    parts += [made if data is None else data, pickle.dumps(keys, protocol)]
    for key in keys:
        if key in storages:
            count = (counts or {}).get(key, len(storages[key].data) // SIZES[storages[key].dtype])
            parts += [struct.pack('<Q', count), storages[key].data]
    return b''.join(parts)


def save_legacy(path, *args, **more):
    with open(path, 'wb') as file:
        file.write(legacy(*args, **more))


def state(tensors, wrap=lambda tensor: tensor):
    """Of name: (type, shape, bytes), a storage each."""
    made = collections.OrderedDict()
    for i, (name, (dtype, shape, raw)) in enumerate(tensors.items()):
        made[name] = wrap(Tensor(Storage(str(i), dtype, raw), tuple(shape)))
    made._metadata = collections.OrderedDict([('', {'version': 1})])
    return made


def transposed(tensor):
    """The same values, but the last index moves slowest in the storage."""
    n = len(tensor.shape)
    stride, step = [0] * n, 1
    for i in range(n):
        stride[i] = step
        step *= tensor.shape[i]
    size, raw, out = SIZES[tensor.storage.dtype], tensor.storage.data, bytearray(len(tensor.storage.data))
    for at in range(len(raw) // size):
        rest, to = at, 0
        for i in reversed(range(n)):
            rest, index = divmod(rest, tensor.shape[i])
            to += index * stride[i]
        out[to * size:(to + 1) * size] = raw[at * size:(at + 1) * size]
    return Tensor(Storage(tensor.storage.key, tensor.storage.dtype, bytes(out)), tensor.shape, tuple(stride))
