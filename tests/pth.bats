#!/usr/bin/env bats
# What torch.save writes, built by tests/pth.py: good files in every form, and bad ones, each with the line that it deserves.
load helper

# pth 'CODE': with tests/pth.py's functions, and one tensor's state dict d
pth() {
	python "import os, pickle
from pth import *
def one(count=None, offset=0, shape=(2, 3), stride=None, dtype='F32', n=6):
    return {'a': Tensor(Storage('0', dtype, bytes(SIZES[dtype] * n), count), shape, stride, offset)}
d = one()
$1"
}

# says LINE: x is refused with it
says() {
	fails_with 1 "ckpt-import: x: $1" ckpt-import x out
	[ ! -e out ]
}

# pickle BYTES LINE: a zip whose data.pkl is these (Python)
pickle() {
	pth "save_zip('x', data=$1)"
	says "$2"
}

# both PYTHON LINE: x in either format, of the object
both() {
	pth "save_zip('x', $1)"
	says "$2"
	pth "save_legacy('x', $1)"
	says "$2"
}

# What is read well, but is no model of ours.
MISSING="tensor 'lxrt_encoder.model.bert.embeddings.word_embeddings.weight' is missing"
STATE="expected a dict of tensors, or one under 'state_dict', 'model_state_dict' or 'model'"

@test "a model in every form is the same" {
	ckpt-import -n 4 "$GOLDEN/sparse/weights.safetensors" want.safetensors
	pth "
_, t = load('$GOLDEN/sparse/weights.safetensors')
d = state(t)
shared = {}
for name in d:
    if name.endswith('.alpha'):
        shared[name] = shared[name + '_chooser'] = d[name]
assert len(shared) == 12
whole = b''.join(t[name][2] for name in t)
pool, at, slices = Storage('pool', 'F32', whole), 0, {}
for name in t:
    slices[name] = Tensor(pool, tuple(t[name][1]), None, at)
    at += len(t[name][2]) // 4
plain = {name: tensor for name, tensor in d.items() if 'alpha' not in name}
forms = {'plain': d, 'parameters': state(t, Parameter), 'transposed': state(t, transposed), 'shared': {**plain, **shared}, 'slices': slices,
         'state_dict': {'epoch': 3, 'rate': 0.5, 'state_dict': d, 'args': [1, (2, None), True, -1, 1 << 40]}, 'model': {'model': d},
         'model_state_dict': {'model_state_dict': d}}
for name, form in forms.items():
    for protocol in 2, 3, 4, 5:
        save_zip('zip.%s.%d.pth' % (name, protocol), form, protocol=protocol)
        save_legacy('legacy.%s.%d.pth' % (name, protocol), form, protocol=protocol)
save_zip('zip.folder.pth', d, folder='a name')
save_zip('zip.no-byteorder.pth', d, byteorder='')
"
	local file n=0
	for file in zip.* legacy.*; do
		# What a file is, its content says.
		mv "$file" x.safetensors
		ckpt-import -n 4 x.safetensors got.safetensors || { echo "$file"; return 1; }
		cmp want.safetensors got.safetensors
		n=$((n + 1))
	done
	[ $n = 66 ]
}

@test "a file beyond 4 GiB, as zip64 has it" {
	ckpt-import -n 4 "$GOLDEN/softmax/weights.safetensors" want.safetensors
	pth "
import zlib
_, t = load('$GOLDEN/softmax/weights.safetensors')
data, storages = pickled(state(t))
names = ['x/data.pkl'] + ['x/data/' + key for key in storages]
parts = [data] + [storage.data for storage in storages.values()]
directory = b''
with open('x.pth', 'wb') as file:
    for name, part in zip(names, parts):
        at, name = file.tell(), name.encode()
        file.write(struct.pack('<4s5H3I2H', b'PK\\3\\4', 45, 0, 0, 0, 0, 0, 2**32 - 1, 2**32 - 1, len(name), 20) + name +
                   struct.pack('<2H2Q', 1, 16, len(part), len(part)) + part)
        directory += struct.pack('<4s6H3I5H2I', b'PK\\1\\2', 45, 45, 0, 0, 0, 0, 0, 2**32 - 1, 2**32 - 1, len(name), 28, 0, 0, 0, 0, 2**32 - 1)
        directory += name + struct.pack('<2H3Q', 1, 24, len(part), len(part), at)
        if at == 0:
            file.seek(5 << 30)
    at = file.tell()
    file.write(directory + struct.pack('<4sQ2H2I4Q', b'PK\\6\\6', 44, 45, 45, 0, 0, len(names), len(names), len(directory), at))
    file.write(struct.pack('<4sIQI', b'PK\\6\\7', 0, at + len(directory), 1))
    file.write(struct.pack('<4s4H2IH', b'PK\\5\\6', 0, 0, 65535, 65535, 2**32 - 1, 2**32 - 1, 0))
"
	ckpt-import -n 4 x.pth got.safetensors
	cmp want.safetensors got.safetensors
}

@test "nothing is run: globals and opcodes that no state dict needs" {
	pth "
class Run:
    def __reduce__(self):
        return os.system, ('touch run',)
for protocol in 2, 4:
    save_zip('x%d' % protocol, {'a': Run()}, protocol=protocol)
save_legacy('legacy', {'a': Run()})
"
	fails_with 1 "ckpt-import: x2: data.pkl: byte 13: global 'posix.system' is not among those of a state dict; nothing was run" ckpt-import x2 out
	fails_with 1 "ckpt-import: x4: data.pkl: byte 34: global 'posix.system' is not among those of a state dict; nothing was run" ckpt-import x4 out
	fails_with 1 "ckpt-import: legacy: byte 96: global 'posix.system' is not among those of a state dict; nothing was run" ckpt-import legacy out
	# The first pickle of a legacy file is as strange a place.
	printf '\x80\x02\x8a\x01\x01cos\nsystem\n(X\x09\0\0\0touch runtR.' >x
	says "byte 5: global 'os.system' is not among those of a state dict; nothing was run"
	pickle "b'\\x80\\2cbuiltins\\neval\\n.'" "data.pkl: byte 2: global 'builtins.eval' is not among those of a state dict; nothing was run"
	pickle "b'\\x80\\2ctorch\\nload\\n.'" "data.pkl: byte 2: global 'torch.load' is not among those of a state dict; nothing was run"
	pickle "b'\\x80\\2c' + b'x\\x1b\\xff' * 100 + b'\\nsystem\\n.'" "data.pkl: byte 2: global 'x??x??x??x??x??x??x??x??x??x??x??x??x??x??x??x??x??x??x??x??....system' is not among those of a state dict; nothing was run"
	pickle "b'\\x80\\2)R.'" "data.pkl: byte 3: opcode 0x52 finds no value on the stack"
	pickle "b'\\x80\\2ctorch\\nFloatStorage\\n)R.'" "data.pkl: byte 23: opcode 0x52 calls something else than a function"
	pickle "b'\\x80\\2ccollections\\nOrderedDict\\nNR.'" "data.pkl: byte 28: opcode 0x52 calls with something else than a tuple"
	pickle "b'\\x80\\2ccollections\\nOrderedDict\\nN\\x85R.'" "data.pkl: byte 29: opcode 0x52 calls OrderedDict with arguments"
	pickle "b'\\x80\\2NNb.'" "data.pkl: byte 4: opcode 0x62 sets attributes of something else than a dict"
	# INST, OBJ, NEWOBJ, NEWOBJ_EX, EXT1, PERSID, DUP, POP, a text protocol
	local opcode
	for opcode in 69 6f 81 92 82 50 32 30 49; do
		pickle "b'\\x80\\2N\\x$opcode.'" "data.pkl: byte 3: opcode 0x$opcode is not known, expected those of a state dict"
	done
	[ -z "$(find . -name run)" ]
}

@test "pickles that are none" {
	pickle "b''" "data.pkl: byte 0: the pickle ends before its stop"
	pickle "b'\\x80'" "data.pkl: byte 0: opcode 0x80 ends past the pickle"
	pickle "b'\\x80\\1N.'" "data.pkl: byte 0: opcode 0x80 names a protocol that is not known, expected 2 to 5"
	pickle "b'\\x80\\2.'" "data.pkl: byte 2: opcode 0x2e finds no value on the stack"
	pickle "b'\\x80\\2NN.'" "data.pkl: byte 4: opcode 0x2e leaves values on the stack"
	pickle "b'\\x80\\2(.'" "data.pkl: byte 3: opcode 0x2e finds no value on the stack"
	pickle "b'\\x80\\2X\\xff\\xff\\xff\\xffa.'" "data.pkl: byte 2: opcode 0x58 ends past the pickle"
	pickle "b'\\x80\\2\\x8a\\xffa.'" "data.pkl: byte 2: opcode 0x8a ends past the pickle"
	pickle "b'\\x80\\4\\x95' + b'\\xff' * 8 + b'N.'" "data.pkl: byte 2: opcode 0x95 has a frame that ends past the pickle"
	pickle "b'\\x80\\2ctorch.'" "data.pkl: byte 2: opcode 0x63 ends past the pickle"
	pickle "b'\\x80\\4NN\\x93.'" "data.pkl: byte 4: opcode 0x93 finds a global whose name is no text"
	pickle "b'\\x80\\2N\\x86.'" "data.pkl: byte 3: opcode 0x86 finds too few values on the stack"
	pickle "b'\\x80\\2N(N\\x86.'" "data.pkl: byte 5: opcode 0x86 finds too few values on the stack"
	pickle "b'\\x80\\2Nt.'" "data.pkl: byte 3: opcode 0x74 finds no mark on the stack"
	pickle "b'\\x80\\2(u.'" "data.pkl: byte 3: opcode 0x75 finds no value on the stack"
	pickle "b'\\x80\\2](NNu.'" "data.pkl: byte 6: opcode 0x75 finds no dict to set items of"
	pickle "b'\\x80\\2}(Ne.'" "data.pkl: byte 5: opcode 0x65 finds no list to append to"
	pickle "b'\\x80\\2}(Nu.'" "data.pkl: byte 5: opcode 0x75 finds a key without a value"
	pickle "b'\\x80\\2}N(s.'" "data.pkl: byte 5: opcode 0x73 finds too few values on the stack"
	pickle "b'\\x80\\2Q.'" "data.pkl: byte 2: opcode 0x51 finds no value on the stack"
}

@test "memo bombs, nesting, and what holds itself" {
	pickle "b'\\x80\\2Nr\\xff\\xff\\xff\\xff.'" "data.pkl: byte 3: memo index 4294967295, expected at most 3, the bytes before it"
	pickle "b'\\x80\\2Nq\\4.'" "data.pkl: byte 3: memo index 4, expected at most 3, the bytes before it"
	pickle "b'\\x80\\2Nj\\xff\\xff\\xff\\xff.'" "data.pkl: byte 3: memo index 4294967295 is empty"
	pickle "b'\\x80\\2Nh\\0.'" "data.pkl: byte 3: memo index 0 is empty"
	pickle "b'\\x80\\2q\\0.'" "data.pkl: byte 2: opcode 0x71 finds no value on the stack"
	# A million lists in each other; a million marks; a tuple in a tuple in …
	pickle "b'\\x80\\2' + b']' * 1000000 + b'a' * 999999 + b'.'" "no state dict: found a list, $STATE"
	pickle "b'\\x80\\2' + b'(' * 1000000 + b'.'" "data.pkl: byte 1000002: opcode 0x2e finds no value on the stack"
	pickle "b'\\x80\\2N' + b'\\x85' * 1000000 + b'.'" "no state dict: found a tuple, $STATE"
	pickle "b'\\x80\\2}q\\0X\\5\\0\\0\\0modelh\\0s.'" "tensor 'model': found a dict with 'model', expected a tensor"
	# Shared, it would double at each step: 2^60 items.
	pickle "b'\\x80\\2(]q\\0' + b''.join(b']q' + bytes([i]) + b'(' + (b'h' + bytes([i - 1])) * 2 + b'e' for i in range(1, 61)) + b't.'" \
		"no state dict: found a tuple, $STATE"
	# Over 8 MiB of pickle.
	pickle "b'\\x80\\2' + b'N' * (9 << 20) + b'.'" "data.pkl: byte 8388608: over 8 MiB of pickle, expected less for a state dict"
}

@test "what is no state dict" {
	both "None" "no state dict: found None, $STATE"
	both "{}" "no state dict: found an empty dict, $STATE"
	both "[1]" "no state dict: found a list, $STATE"
	both "d['a']" "no state dict: found a tensor, $STATE"
	both "{'epoch': 3, 'net': d}" "no state dict: found a dict with 'epoch', 'net', $STATE"
	both "{'a': 1, 2: 2, 'c' * 60: 3, 'd': 4, 'e': 5}" "no state dict: found a dict with 'a', a key that is no text, 'cccccccccccccccccccccccccccccccccccccccccccc...', and 2 more, $STATE"
	both "{'a': d['a'], 'epoch': 3}" "tensor 'epoch': found an integer, expected a tensor"
	both "{'model': {'epoch': 3}}" "tensor 'epoch': found an integer, expected a tensor"
	both "{'a': d['a'], 5: d['a']}" "a key of the state dict is no text"
	both "{'a': d['a'], 'b\0c': d['a']}" "a key of the state dict is no text"
	both "{'x' * 192: d['a']}" "tensor 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx...': its name has 192 bytes, expected fewer than 192"
	both "{'a': d['a'].storage}" "no state dict: found a dict with 'a', $STATE"
	# Read well, it is still no model.
	both "d" "$MISSING"
	pickle "b'\\x80\\2}(' + b'X\\1\\0\\0\\0aN' * 2 + b'u.'" "no state dict: found a dict with 'a', 'a', $STATE"
}

@test "names twice" {
	# h 10 is what was called last: the tensor.
	pth "
data, storages = pickled(d)
last = max(i for i in range(256) if bytes([ord('q'), i]) in data)
assert data.endswith(b'Rq' + bytes([last]) + b's.')
save_zip('x', data=data[:-1] + b'X\\1\\0\\0\\0ah' + bytes([last]) + b's.', entries={'0': bytes(24)})"
	says "tensor 'a' is there twice"
}

@test "tensors that do not fit their storages" {
	both "one(shape=(2, 4))" "tensor 'a': its shape and strides need 8 elements from 0 on, but storage '0' has 6"
	both "one(offset=1)" "tensor 'a': its shape and strides need 6 elements from 1 on, but storage '0' has 6"
	both "one(offset=7, shape=(0, 3))" "$MISSING"
	both "one(offset=-1)" "tensor 'a': its shape and strides need 6 elements from -1 on, but storage '0' has 6"
	both "one(offset=1 << 62)" "tensor 'a': its shape and strides need 6 elements from 4611686018427387904 on, but storage '0' has 6"
	both "one(offset=1 << 64)" "tensor 'a': its offset is no integer"
	both "one(offset=None)" "tensor 'a': its offset is no integer"
	both "one(stride=(4, 1))" "tensor 'a': its shape and strides need 7 elements from 0 on, but storage '0' has 6"
	both "one(stride=(-3, 1))" "tensor 'a': number 0 of its strides is -3, expected at least 0"
	both "one(shape=(2, -3), stride=(3, 1))" "tensor 'a': number 1 of its shape is -3, expected at least 0"
	both "one(shape=(2, 'x'), stride=(3, 1))" "tensor 'a': number 1 of its shape is no integer"
	both "one(shape=[6], stride=(1,))" "tensor 'a': its shape is no tuple of at most 4 integers"
	both "one(shape=(1, 1, 1, 2, 3))" "tensor 'a': its shape is no tuple of at most 4 integers"
	both "one(stride=(1,))" "tensor 'a': 1 strides, expected 2 as its shape has"
	both "one(shape=(1 << 60, 1 << 60))" "tensor 'a': its shape and strides need more than 2^63 elements"
	both "one(shape=(0, 1 << 60, 1 << 60), stride=(1, 1, 1))" "tensor 'a': its shape and strides need more than 2^63 elements"
	both "one(shape=(1 << 60,), stride=(0,))" "tensor 'a': it repeats elements: 1152921504606846976 of 6 in storage '0'"
	both "one(shape=(2,), stride=(1 << 62,))" "tensor 'a': its shape and strides need 4611686018427387905 elements from 0 on, but storage '0' has 6"
	both "one(shape=(7,), stride=(0,))" "tensor 'a': it repeats elements: 7 of 6 in storage '0'"
	# Many views of one storage: what is copied is bounded by the file.
	pth "
s = Storage('0', 'F32', bytes(4 << 20))
save_zip('x', {'a%d' % i: Tensor(s, (1024, 1024), (1, 1024)) for i in range(5)})"
	run -1 ckpt-import x out
	[[ $output == "ckpt-import: x: tensor 'a4': tensors that are not row by row have more than 4 times the 4195"???" bytes of the file" ]]
	pth "
s = Storage('0', 'F32', bytes(4 << 20))
save_zip('x', {'a': Tensor(s, (1024, 1024), (1, 1024)), **{'b%d' % i: Tensor(s, (1024, 1024)) for i in range(1000)}})"
	says "$MISSING"
	# So is what is loaded, where layers share their tensors.
	pth "
d = state(load('$GOLDEN/softmax/weights.safetensors')[1])
layers = {k.replace('.layer.0.', '.layer.%d.' % i): v for i in range(150) for k, v in d.items() if '.layer.0.' in k}
save_zip('x', {**d, **layers})"
	run -1 ckpt-import -n 4 x out
	[[ $output == "ckpt-import: x: tensor 'lxrt_encoder.model.bert.encoder."*"': with those before it there are more than 4 times the "??????" bytes of the file" ]]
	both "{**d, 'b': Tensor(None, (2,), (1,))}" "tensor 'b': a tensor without a storage, an offset, a size and a stride"
	pickle "b'\\x80\\2}X\\1\\0\\0\\0actorch._utils\\n_rebuild_parameter\\n)Rs.'" "tensor 'a': a tensor without a storage, an offset, a size and a stride"
	pickle "b'\\x80\\2}X\\1\\0\\0\\0actorch._utils\\n_rebuild_parameter\\nN\\x85Rs.'" "tensor 'a': found None, expected a tensor"
	both "{'a': Parameter(Parameter(Parameter(d['a'])))}" "tensor 'a': a tensor without a storage, an offset, a size and a stride"
}

@test "storages that are not what the pickle says" {
	pth "save_zip('x', d, entries={'0': bytes(23)})"
	says "storage '0': 6 elements of F32, but only 23 bytes are left for them"
	pth "save_zip('x', d, entries={'0': bytes(25)})"
	says "storage '0': 6 elements of F32, but its entry has 25 bytes"
	pth "save_zip('x', d, entries={'0': None})"
	says "storage '0' has no entry in the archive"
	pth "save_zip('x', {'a': Tensor(Storage('../0', 'F32', bytes(24)), (6,))}, entries={'../0': None, '0': bytes(24)})"
	says "storage '../0' has no entry in the archive"
	pth "save_zip('x', {'a': Tensor(Storage('k' * 100, 'F32', bytes(24)), (6,))})"
	says "storage 'kkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkkk...' has no entry in the archive"
	both "one(count=-1)" "storage '0': its number of elements is negative or no integer"
	both "one(count='6')" "storage '0': its number of elements is negative or no integer"
	both "{**one(), 'b': Tensor(Storage('0', 'F32', bytes(24), 5), (5,))}" "storage '0' is both 6 F32 and 5 F32"
	both "{**one(), 'b': Tensor(Storage('0', 'I32', bytes(24)), (6,))}" "storage '0' is both 6 F32 and 6 I32"
	pth "save_zip('x', one(count=1 << 60))"
	says "storage '0': 1152921504606846976 elements of F32, but only 24 bytes are left for them"
	pickle "b'\\x80\\2NQ.'" "a persistent id is None, expected a tuple of 5 for a storage"
	pickle "b'\\x80\\2(NNNNNtQ.'" "a persistent id is not ('storage', its class, key, location, …)"
	pickle "b'\\x80\\2(X\\7\\0\\0\\0storagectorch\\nFloatStorage\\nX\\1\\0\\0\\0aX\\3\\0\\0\\0cpuK\\1K\\1tQ.'" "storage 'a' is a view of another one, as torch 0.3 and before wrote them"
	# The types of other machines.
	pth "save_zip('x', d, byteorder='big')"
	says "byteorder is 'big', expected 'little'"
}

@test "integers are read, and named where a number is wanted" {
	ckpt-import -n 4 "$GOLDEN/softmax/weights.safetensors" want.safetensors
	pth "
_, t = load('$GOLDEN/softmax/weights.safetensors')
t['lxrt_encoder.model.bert.embeddings.position_ids'] = ('I64', [1, 24], bytes(8 * 24))
save_zip('x', state(t))
t['steps'] = ('I64', [], bytes(8))
save_zip('y', state(t))"
	ckpt-import -n 4 x got.safetensors
	cmp want.safetensors got.safetensors
	fails_with 1 "ckpt-import: y: tensor 'steps' is not used by this model" ckpt-import -n 4 y out
	pth "
_, t = load('$GOLDEN/softmax/weights.safetensors')
t['logit_fc.0.bias'] = ('I64', [64], bytes(8 * 64))
save_zip('x', state(t))"
	fails_with 1 "ckpt-import: x: tensor 'logit_fc.0.bias': its type is I64, expected F32, F16, BF16 or F64" ckpt-import -n 4 x out
}

# edit OLD NEW: these bytes of x (Python), which are in it once.
edit() {
	pth "
data = open('x', 'rb').read()
assert data.count($1) == 1, data.count($1)
open('x', 'wb').write(data.replace($1, $2))"
}

@test "zip archives" {
	pth "save_zip('x', d, method=zipfile.ZIP_DEFLATED)"
	says "entry 'archive/data.pkl' is compressed (method 8), expected stored, as torch.save writes it"
	# A gigabyte in less than a megabyte: so the directory says, and what is packed would give an eighth of it.
	pth "
with zipfile.ZipFile('x', 'w', zipfile.ZIP_DEFLATED, compresslevel=1) as file:
    file.writestr('archive/data.pkl', pickled(one(count=1 << 28, n=0))[0], zipfile.ZIP_STORED)
    file.writestr('archive/data/0', bytes(1 << 27))
data = bytearray(open('x', 'rb').read())
at = data.rindex(b'PK\\1\\2')
data[at + 24:at + 28] = struct.pack('<I', 1 << 30)
open('x', 'wb').write(data)"
	[ "$(stat -c %s x)" -lt 1000000 ]
	says "entry 'archive/data/0' is compressed (method 8), expected stored, as torch.save writes it"
	pth "
with zipfile.ZipFile('x', 'w') as file:
    file.writestr('[Content_Types].xml', '')"
	says "a zip archive without data.pkl, expected one that torch.save wrote"
	pth "zipfile.ZipFile('x', 'w').close(); data = open('x', 'rb').read(); open('x', 'wb').write(b'PK\\3\\4' + data)"
	says "a zip archive without entries"
	pth "
import warnings
warnings.simplefilter('ignore')
save_zip('x', d)
with zipfile.ZipFile('x', 'a') as file:
    file.writestr('archive/data/0', bytes(24))"
	says "entry 'archive/data/0' is there twice"
	pth "save_zip('x', d)"
	printf 'a comment' >>x
	says "a zip archive without its end: is the file cut?"
	pth "
save_zip('x', d)
with zipfile.ZipFile('x', 'a') as file:
    file.comment = b'a comment'"
	says "$MISSING"
	# The directory's record of data/0 changed.
	record() {
		pth "
save_zip('x', d)
data = bytearray(open('x', 'rb').read())
at = data.rindex(b'PK\\1\\2')
end = data.rindex(b'PK\\5\\6')
local = struct.unpack('<I', data[at + 42:at + 46])[0]
$1
open('x', 'wb').write(data)"
	}
	record "data[at + 8] |= 1"
	says "entry 'archive/data/0' is encrypted"
	record "data[at + 20:at + 28] = struct.pack('<2I', 4, 4)"
	says "storage '0': 6 elements of F32, but only 4 bytes are left for them"
	record "data[at + 20:at + 24] = struct.pack('<I', 4)"
	says "entry 'archive/data/0' is stored, but its 4 bytes are to become 24"
	record "data[at + 20:at + 28] = struct.pack('<2I', 2**31, 2**31)"
	run -1 ckpt-import x out
	[[ $output == "ckpt-import: x: entry 'archive/data/0': its 2147483648 bytes from byte "*" end past the data" ]]
	record "data[at + 20:at + 28] = b'\\xff' * 8"
	run -1 ckpt-import x out
	[[ $output == "ckpt-import: x: entry 'archive/data/0': its 4294967295 bytes from byte "*" end past the data" ]]
	# zip64's extra field without the sizes that are to be in it; one that ends past the record.
	local extra
	for extra in '1, 4, 0' '9, 100, 0'; do
		pth "
info = zipfile.ZipInfo('archive/data.pkl')
info.extra = struct.pack('<2HI', $extra)
with zipfile.ZipFile('x', 'w') as file:
    file.writestr(info, b'')
data = bytearray(open('x', 'rb').read())
at = data.rindex(b'PK\1\2')
data[at + 20:at + 28] = b'\xff' * 8
open('x', 'wb').write(data)"
		run -1 ckpt-import x out
		[[ $output == "ckpt-import: x: byte "*": a record of the zip directory has a broken extra field" ]]
	done
	record "data[at + 42:at + 46] = struct.pack('<I', 0)"
	says "entry 'archive/data/0': its header at byte 0 has another name"
	record "data[at + 42:at + 46] = struct.pack('<I', 1)"
	says "entry 'archive/data/0': no header where the zip directory says, at byte 1"
	record "data[at + 42:at + 46] = struct.pack('<I', 2**31)"
	says "entry 'archive/data/0': no header where the zip directory says, at byte 2147483648"
	record "data[at + 28:at + 30] = struct.pack('<H', 20)"
	run -1 ckpt-import x out
	[[ $output == "ckpt-import: x: byte "*": a record of the zip directory ends past it" ]]
	record "data[local + 28:local + 30] = struct.pack('<H', 60000)"
	run -1 ckpt-import x out
	[[ $output == "ckpt-import: x: entry 'archive/data/0': its 24 bytes from byte "*" end past the data" ]]
	record "data[local + 30] = ord('A')"
	run -1 ckpt-import x out
	[[ $output == "ckpt-import: x: entry 'archive/data/0': its header at byte "*" has another name" ]]
	record "data[at] = 0"
	run -1 ckpt-import x out
	[[ $output == "ckpt-import: x: byte "*": no record of the zip directory" ]]
	record "data[end + 10:end + 12] = struct.pack('<H', 60000)"
	run -1 ckpt-import x out
	[[ $output == "ckpt-import: x: the zip directory (60000 entries in "*" bytes at byte "*") does not fit the file" ]]
	record "data[end + 16:end + 20] = struct.pack('<I', 2**32 - 2)"
	run -1 ckpt-import x out
	[[ $output == "ckpt-import: x: the zip directory (3 entries in "*" bytes at byte 4294967294) does not fit the file" ]]
	# Two entries claim the same bytes: data/0's header within data.pkl's data.
	pth "
inner = struct.pack('<4s5H3I2H', b'PK\\3\\4', 20, 0, 0, 0, 0, 0, 24, 24, 14, 0) + b'archive/data/0' + bytes(24)
save_zip('x', data=pickled(d)[0] + inner, entries={'0': bytes(24)})
data = bytearray(open('x', 'rb').read())
at = data.rindex(b'PK\\1\\2')
data[at + 42:at + 46] = struct.pack('<I', bytes(data).index(inner))
open('x', 'wb').write(data)"
	says "entry 'archive/data/0' overlaps the one before it, 'archive/data.pkl'"
	# A zip64 end that is none.
	pth "
save_zip('x', d)
data = open('x', 'rb').read()
end = data.rindex(b'PK\\5\\6')
for at in 0, 2**63, end - 56:
    open('x%d' % (at and 1 + (at == 2**63)), 'wb').write(data[:end] + struct.pack('<4sIQI', b'PK\\6\\7', 0, at, 1) + data[end:])"
	local n
	for n in 0 1 2; do
		run -1 ckpt-import x$n out
		[[ $output == "ckpt-import: x$n: byte "*": no zip64 end where its locator says, at byte "* ]]
	done
}

@test "legacy files" {
	pth "save_legacy('x', d, magic=MAGIC + 1)"
	says "byte 0: a pickle without torch's magic number"
	pth "save_legacy('x', d, version=1000)"
	says "byte 15: not torch's protocol 1001"
	pth "save_legacy('x', d, little=False)"
	says "byte 21: not from a little-endian machine"
	pth "save_legacy('x', d, keys=[])"
	says "0 keys of storages in a list, expected 1"
	pth "save_legacy('x', d, keys=['0', '1'])"
	says "2 keys of storages in a list, expected 1"
	pth "save_legacy('x', d, keys=['1'])"
	says "key 0 of the list belongs to no storage"
	pth "save_legacy('x', d, keys=[0])"
	says "key 0 of the list belongs to no storage"
	pth "save_legacy('x', {**d, 'b': Tensor(Storage('1', 'F32', bytes(24)), (6,))}, keys=['0', '0'])"
	says "storage '0' is there twice"
	pth "save_legacy('x', d, counts={'0': 5})"
	run -1 ckpt-import x out
	[[ $output == "ckpt-import: x: byte "*": storage '0' has 5 elements, but its tensors say 6" ]]
	pth "save_legacy('x', d, counts={'0': 2**64 - 1})"
	run -1 ckpt-import x out
	[[ $output == "ckpt-import: x: byte "*": storage '0' has 18446744073709551615 elements, but its tensors say 6" ]]
	pth "save_legacy('x', one(count=2**60), counts={'0': 2**60})"
	says "storage '0': 1152921504606846976 elements of F32, but only 24 bytes are left for them"
	pth "save_legacy('x', d)"
	head -c -1 x >y
	fails_with 1 "ckpt-import: y: storage '0': 6 elements of F32, but only 23 bytes are left for them" ckpt-import y out
	printf x >>x
	says "1 bytes at the end belong to no storage"
	# Any other pickle.
	/usr/bin/python3 -c "import pickle; pickle.dump(1 << 70, open('x', 'wb'), 2)"
	says "byte 0: a pickle without torch's magic number"
}

# Cut at every byte, it is refused for what it is, and never taken for a state dict.
@test "cut anywhere" {
	pth "
save_zip('zip', d)
save_legacy('legacy', d)"
	local file
	for file in zip legacy; do
		fails_with 1 "ckpt-import: $file: $MISSING" ckpt-import $file out
		pth "
data = open('$file', 'rb').read()
assert len(data) > 200
for n in range(len(data)):
    with open('x', 'wb') as cut:
        cut.write(data[:n])
    done = subprocess.run(['ckpt-import', 'x', 'out'], stderr=subprocess.PIPE, text=True)
    assert done.returncode == 1, (n, done)
    assert done.stderr.startswith('ckpt-import: x: ') and done.stderr.count('\\n') == 1 and ' is missing' not in done.stderr, (n, done)
"
	done
	[ ! -e out ]
}

@test "a plain state dict under a checkpoint's name" {
	cp "$GOLDEN/sparse/weights.pth" adaptive_6910.pth
	fails_with 1 "vqa-forward: adaptive_6910.pth: no vqa.config in its metadata: a plain state dict, of which ckpt-import makes a checkpoint" \
		vqa-forward adaptive_6910 </dev/null
	fails_with 1 "ckpt-info: adaptive_6910.pth: no vqa.config in its metadata: a plain state dict, of which ckpt-import makes a checkpoint" \
		ckpt-info adaptive_6910
	# The checkpoint comes first.
	ckpt-import -n 4 adaptive_6910.pth adaptive_6910.safetensors
	[ "$(ckpt-info --json adaptive_6910 | jq -r .file)" = adaptive_6910.safetensors ]
}
