load helper

CASES='softmax sparse adaptive adaptive-short-batch adaptive-sparse layerdrop schedule'

# import CASE FILE OUT
import() {
	ckpt-import -n "$(jq .heads "$GOLDEN/$1/case.json")" "$GOLDEN/$1/$2" "$3"
}

# same A B: tensor for tensor, in name, type, shape and bits
same() {
	python "
_, a = load('$1')
_, b = load('$2')
assert a.keys() == b.keys(), a.keys() ^ b.keys()
assert a == b, [name for name in a if a[name] != b[name]]
assert len(a) > 100"
}

@test "manners" {
	manners ckpt-export
}

@test "the goldens come in from each format as the same bytes, and go out with the reference's keys, shapes and bits" {
	local case file
	for case in $CASES; do
		import $case weights.safetensors want.safetensors
		for file in weights.pth weights-legacy.pth; do
			import $case $file got.safetensors
			cmp want.safetensors got.safetensors
		done
		ckpt-export got out.safetensors
		same out.safetensors "$GOLDEN/$case/weights.safetensors"
		# What went out comes in again.
		cp out.safetensors again.safetensors
		ckpt-import -n "$(jq .heads "$GOLDEN/$case/case.json")" again.safetensors again.safetensors
		cmp want.safetensors again.safetensors
	done
}

@test "the keys that ours leaves out" {
	local bert=lxrt_encoder.model.bert.encoder
	import layerdrop weights.pth x.safetensors
	ckpt-export x out.safetensors
	python "
_, t = load('out.safetensors')
for stack, layers in (('layer', 3), ('r_layers', 2), ('x_layers', 2)):
    inside = {name.split('.')[6] for name in t if name.startswith('$bert.%s.module_list.' % stack)}
    assert inside == {str(n) for n in range(layers)}, inside
    assert not any(name.startswith('$bert.%s.0' % stack) for name in t)
assert not any('span' in name or 'alpha' in name for name in t)"
	import schedule weights.pth x.safetensors
	ckpt-export x out.safetensors
	python "
meta, t = load('out.safetensors')
assert meta == {'format': 'pt'}
for name in [name for name in t if name.endswith('.alpha')]:
    assert t[name + '_chooser'] == t[name]
spans = [name[:-len('current_val')] for name in t if name.endswith('.current_val')]
assert len(spans) == 9 and len(t) == 198
for span in spans:
    assert list(values(t[span + 'mask_template_0'])) == list(range(-19, 1))
    assert list(values(t[span + 'mask_template_1'])) == list(range(-35, 1))"
}

@test "sizes are the configuration's" {
	prepare
	ckpt-init -L 1,1,1 -H 32 -n 4 -F 64 -f 360 -a -d 1 --span-rows 3 --max-tokens 12 --objects 9 -A answers.json x.safetensors
	ckpt-export x out.safetensors
	python "
_, ours = load('x.safetensors')
_, t = load('out.safetensors')
assert {name.replace('.module_list', ''): tensor for name, tensor in t.items() if '.mask_template_' not in name} == ours
assert all(('.module_list.0.' in name) == ('layer.' in name or 'layers.' in name) for name in t)
zero, one = ([tensor for name, tensor in t.items() if name.endswith(end)] for end in ('.mask_template_0', '.mask_template_1'))
assert len(zero) == len(one) == 5
assert all(list(values(x)) == list(range(-11, 1)) for x in zero)
assert all(list(values(x)) == list(range(-8, 1)) for x in one)"
}

@test "what cannot go out" {
	fails_with 1 "ckpt-export: none: no such checkpoint: neither a file, nor with .safetensors or .pth added, nor a run's folder" ckpt-export none out
	fails_with 1 "ckpt-export: $GOLDEN/sparse/weights.pth: no vqa.config in its metadata: a plain state dict, of which ckpt-import makes a checkpoint" \
		ckpt-export "$GOLDEN/sparse/weights.pth" out
	fails_with 2 "ckpt-export: too few operands: found 1, expected SRC OUT; see ckpt-export --help" ckpt-export a
	import sparse weights.pth x.safetensors
	for end in .pth .pt .bin; do
		fails_with 2 "ckpt-export: 'out$end' will be a safetensors file, expected a name that does not end with $end" ckpt-export x out$end
	done
	mkdir folder
	fails_with 1 "ckpt-export: folder: is there and no regular file" ckpt-export x folder
	fails_with 1 "ckpt-export: out.safetensors: cannot write: File too large" \
		bash -c "trap '' XFSZ; ulimit -f 8; exec ckpt-export x out.safetensors"
	[ -z "$(find . -name 'out*')" ]
}
