load helper

# The golden $1 changed by Python ($2: its tensors are t) as x.safetensors
change() {
	python "_, t = load('$GOLDEN/$1/weights.safetensors')
$2
save('x.safetensors', t)"
}

# wrong MESSAGE CASE PYTHON: the changed golden is refused, and nothing is written
wrong() {
	change "$2" "$3"
	rm -f out.safetensors
	fails_with 1 "ckpt-import: x.safetensors: $1" ckpt-import -n 4 x.safetensors out.safetensors
	[ ! -e out.safetensors ]
	[ -z "$(find . -name '*.new.*')" ]
}

# import [OPTION...] OUT: of the sparse golden
import() {
	ckpt-import -n 4 "${@:1:$#-1}" "$GOLDEN/sparse/weights.safetensors" "${@: -1}"
}

@test "manners" {
	manners ckpt-import
}

@test "the goldens come in bit for bit" {
	local case
	for case in softmax sparse; do
		ckpt-import -n 4 "$GOLDEN/$case/weights.safetensors" $case.safetensors
		python "
_, theirs = load('$GOLDEN/$case/weights.safetensors')
meta, ours = load('$case.safetensors')
expected = {k: v for k, v in theirs.items() if not k.endswith('.alpha_chooser')}
assert expected == ours
assert 'vqa.answers' not in meta
"
		[ "$(ckpt-info --json $case | jq -c '.config | [.language, .cross, .vision, .hidden, .heads, .ffn, .features, .vocabulary, .positions, .max_tokens, .objects, .answers, .sparse, .feature_source, .vocab_hash]')" = \
			"[2,1,1,32,4,64,24,60,24,20,36,11,$([ $case = sparse ] && echo true || echo false),\"\",\"\"]" ]
	done
	# A checkpoint is a state dict too.
	ckpt-import -n 4 sparse.safetensors again.safetensors
	cmp sparse.safetensors again.safetensors
}

@test "answers and vocabulary" {
	jq -nc '["yes","no","red","green","blue","black","teal","gray","brown","circle","a \"b\""]' >answers.json
	{ printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' && seq 56; } >vocab.txt
	import -A answers.json -V vocab.txt out.safetensors
	[ "$(ckpt-info --json out | jq -c .answers)" = "$(cat answers.json)" ]
	ckpt-info --json out | jq -r .config.vocab_hash | grep -Eqx '[0-9a-f]{16}'
	echo '["yes"]' >answers.json
	fails_with 1 "ckpt-import: answers.json: 1 answers, but '$GOLDEN/sparse/weights.safetensors' has 11 rows of logit_fc.3" import -A answers.json x
	{ printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' && seq 55; } >vocab.txt
	fails_with 1 "ckpt-import: vocab.txt: 59 pieces, but '$GOLDEN/sparse/weights.safetensors' has 60 rows of word_embeddings" import -V vocab.txt x
	[ ! -e x ]
}

@test "names under DataParallel and LayerDrop, and what is stored twice" {
	import want.safetensors
	change sparse "t = {'module.' + k.replace('.bert.', '.module.bert.').replace('layer.', 'layer.module_list.').replace('r_layers.', 'r_layers.module_list.').replace('x_layers.', 'x_layers.module_list.').replace('r_layer.module_list.s', 'r_layers'): v for k, v in t.items()}
assert any('x_layers.module_list.0.' in k for k in t) and any('.layer.module_list.1.' in k for k in t) and any('r_layers.module_list.0.' in k for k in t)"
	ckpt-import -n 4 x.safetensors got.safetensors
	python "assert load('want.safetensors')[1] == load('got.safetensors')[1]"
	ckpt-info --json want | jq '.config.layerdrop = 1 | del(.file)' >want.json
	ckpt-info --json got | jq 'del(.file)' | diff want.json -
	# alpha wins over alpha_chooser, as the reference's loading has it; mask templates are constants.
	change sparse "for k in t:
    if k.endswith('alpha_chooser'):
        t[k] = ('F32', [4], struct.pack('<4f', 1.1, 1.2, 1.3, 1.4))
t['lxrt_encoder.model.bert.encoder.layer.0.attention.self.adaptive_span.mask_template_0'] = ('F32', [1], struct.pack('<f', 0))"
	ckpt-import -n 4 x.safetensors got.safetensors
	cmp want.safetensors got.safetensors
}

@test "other types become float32" {
	python "
_, t = load('$GOLDEN/softmax/weights.safetensors')
half, brain, double, want = {}, {}, {}, [{}, {}, {}]
for k, v in t.items():
    x = values(v)
    half[k] = ('F16', v[1], struct.pack('<%de' % len(x), *x))
    brain[k] = ('BF16', v[1], b''.join(v[2][i + 2:i + 4] for i in range(0, len(v[2]), 4)))
    double[k] = ('F64', v[1], struct.pack('<%dd' % len(x), *x))
    want[0][k] = struct.pack('<%df' % len(x), *struct.unpack('<%de' % len(x), half[k][2]))
    want[1][k] = b''.join(b'\0\0' + brain[k][2][i:i + 2] for i in range(0, len(brain[k][2]), 2))
    want[2][k] = v[2]
import subprocess
for i, source in enumerate((half, brain, double)):
    save('x.safetensors', source)
    subprocess.run(['ckpt-import', '-n4', 'x.safetensors', 'out.safetensors'], check=True)
    got = load('out.safetensors')[1]
    assert {k: v[2] for k, v in got.items()} == want[i], i
    assert all(v[0] == 'F32' for v in got.values())
"
	wrong "tensor 'logit_fc.0.bias': its type is I32, expected F32, F16, BF16 or F64" softmax "t['logit_fc.0.bias'] = ('I32',) + t['logit_fc.0.bias'][1:]"
}

@test "heads" {
	local alpha=lxrt_encoder.model.bert.encoder.x_layers.0.visual_attention.att.entmax_alpha.alpha
	fails_with 1 "ckpt-import: $GOLDEN/softmax/weights.safetensors: 'hidden' is 32, expected a multiple of 12 heads" \
		ckpt-import "$GOLDEN/softmax/weights.safetensors" out
	fails_with 1 "ckpt-import: $GOLDEN/sparse/weights.safetensors: tensor '$alpha' has 4 alphas, expected one for each of 8 heads" \
		ckpt-import -n 8 "$GOLDEN/sparse/weights.safetensors" out
	fails_with 2 "ckpt-import: option -n: '0' is not a whole number from 1 to 1024" ckpt-import -n 0 a b
	fails_with 2 "ckpt-import: too few operands: found 1, expected SRC OUT; see ckpt-import --help" ckpt-import a
	[ ! -e out ]
}

@test "what is missing, not used, or does not fit" {
	local bert=lxrt_encoder.model.bert
	wrong "tensor 'logit_fc.2.bias' is missing" softmax "del t['logit_fc.2.bias']"
	wrong "tensor '$bert.pooler.dense.weight' is missing" softmax "del t['$bert.pooler.dense.weight']"
	wrong "tensor '$bert.embeddings.word_embeddings.weight' is missing" softmax "t = {'a': ('F32', [1], bytes(4))}"
	wrong "tensor '$bert.embeddings.word_embeddings.weight' is missing" softmax "t = {}"
	wrong "tensor 'answer_head.weight' is not used by this model" softmax "t['answer_head.weight'] = ('F32', [1], bytes(4))"
	# A gap in the layers' numbers ends them.
	wrong "tensor '$bert.encoder.layer.0.attention.output.LayerNorm.bias' is not used by this model" softmax \
		"t = {k: v for k, v in t.items() if k != '$bert.encoder.layer.0.intermediate.dense.weight'}"
	wrong "tensor '$bert.encoder.layer.1.attention.self.entmax_alpha.alpha' is missing" sparse "del t['$bert.encoder.layer.1.attention.self.entmax_alpha.alpha']"
	wrong "tensor 'logit_fc.0.bias' has shape [63], expected [64]" softmax "t['logit_fc.0.bias'] = ('F32', [63], bytes(63 * 4))"
	wrong "tensor 'logit_fc.0.weight' has shape [64, 2, 16], expected [64, 32]" softmax "t['logit_fc.0.weight'] = ('F32', [64, 2, 16], bytes(64 * 32 * 4))"
	wrong "tensor 'logit_fc.3.weight' is no matrix of sizes from 1 to 16777216" softmax "t['logit_fc.3.weight'] = ('F32', [], bytes(4))"
	wrong "tensor 'logit_fc.3.weight' is no matrix of sizes from 1 to 16777216" softmax "t['logit_fc.3.weight'] = ('F32', [0, 64], b'')"
	wrong "tensors 'logit_fc.0.bias' and 'module.logit_fc.0.bias' are the same parameter" softmax "t['module.logit_fc.0.bias'] = t['logit_fc.0.bias']"
	wrong "tensor '$bert.encoder.layer.0.attention.self.adaptive_span.current_val' is not used by this model" softmax \
		"t['$bert.encoder.layer.0.attention.self.adaptive_span.current_val'] = ('F32', [1, 4, 1, 1], bytes(16))"
}

@test "values that are not finite" {
	wrong "tensor 'logit_fc.0.bias': element 3 is NaN, expected a finite number" softmax \
		"t['logit_fc.0.bias'] = ('F32', [64], bytes(12) + struct.pack('<f', float('nan')) + bytes(240))"
	wrong "tensor 'logit_fc.0.bias': element 63 is infinite, expected a finite number" softmax \
		"t['logit_fc.0.bias'] = ('F32', [64], bytes(252) + struct.pack('<f', float('-inf')))"
	# A double that no float32 holds.
	wrong "tensor 'logit_fc.0.bias': element 0 is infinite, expected a finite number" softmax \
		"t['logit_fc.0.bias'] = ('F64', [64], struct.pack('<d', 1e300) + bytes(63 * 8))"
}

@test "files that are none" {
	printf '\003\0\0\0\0\0\0\0{}' >x
	fails_with 1 "ckpt-import: x: its header of 3 bytes ends past the file of 10" ckpt-import x out
	fails_with 1 "ckpt-import: none: cannot open: No such file or directory" ckpt-import none out
	fails_with 1 "ckpt-import: .: not a regular file" ckpt-import . out
	mkfifo pipe
	fails_with 1 "ckpt-import: pipe: not a regular file" ckpt-import pipe out
	# Cut anywhere, it is refused.
	local n size
	size=$(stat -c %s "$GOLDEN/softmax/weights.safetensors")
	for n in 0 7 8 100 $((size / 2)) $((size - 1)); do
		head -c "$n" "$GOLDEN/softmax/weights.safetensors" >x
		run -1 ckpt-import -n 4 x out
		[[ $output == 'ckpt-import: x: '* ]] || return 1
		[ "${#lines[@]}" = 1 ]
	done
	[ ! -e out ]
}

@test "what was there stays until the new one is whole" {
	import out.safetensors
	cp out.safetensors before
	fails_with 1 "ckpt-import: out.safetensors: cannot write: File too large" \
		bash -c "trap '' XFSZ; ulimit -f 8; exec ckpt-import -n 4 '$GOLDEN/softmax/weights.safetensors' out.safetensors"
	cmp out.safetensors before
	[ -z "$(find . -name '*.new.*')" ]
	# SRC and OUT may be one file.
	ckpt-import -n 4 out.safetensors out.safetensors
	cmp out.safetensors before
}
