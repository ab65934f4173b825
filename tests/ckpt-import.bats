load helper

# The golden $1 changed by Python ($2: its tensors are t) as x.safetensors
change() {
	python "_, t = load('$GOLDEN/$1/weights.safetensors')
$2
save('x.safetensors', t)"
}

# The softmax golden under other names ($1: Python, k to its new name) as x.safetensors
rename() {
	change softmax "t = {$1: v for k, v in t.items()}"
}

# logits CASE FILE: the checkpoint gives the logits of the golden
logits() {
	/usr/bin/python3 "$ROOT/tests/golden.py" stream "$GOLDEN/$1" 1 | vqa-forward -l "$2" >answered
	/usr/bin/python3 "$ROOT/tests/golden.py" logits "$GOLDEN/$1" 1 answered
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
	local case
	fails_with 1 "ckpt-import: $GOLDEN/softmax/weights.safetensors: 'hidden' is 32, expected a multiple of 12 heads" \
		ckpt-import "$GOLDEN/softmax/weights.safetensors" out
	# alphas and spans tell how many there are
	fails_with 1 "ckpt-import: $GOLDEN/sparse/weights.safetensors: 4 heads, but -n says 8" \
		ckpt-import -n 8 "$GOLDEN/sparse/weights.safetensors" out
	for case in sparse adaptive; do
		ckpt-import "$GOLDEN/$case/weights.safetensors" told.safetensors
		ckpt-import -n 4 "$GOLDEN/$case/weights.safetensors" named.safetensors
		cmp told.safetensors named.safetensors
	done
	# where nothing does, that is said
	python "
meta, t = load('$GOLDEN/softmax/weights.safetensors')
wide = {k: (d, [3 * n if n in (32, 64, 128) else n for n in s], bytes(4 * math.prod(3 * n if n in (32, 64, 128) else n for n in s))) for k, (d, s, b) in t.items()}
save('wide.safetensors', wide)"
	ckpt-import wide.safetensors wide12.safetensors 2>said
	[ "$(tail -n 1 said)" = 'ckpt-import: wide.safetensors: taken for 12 heads, for nothing tells how many it has but -n' ]
	[ "$(ckpt-info --json wide12 | jq .config.heads)" = 12 ]
	# a checkpoint says how many it has
	ckpt-import -n 4 "$GOLDEN/softmax/weights.safetensors" ours.safetensors
	fails_with 1 "ckpt-import: ours.safetensors: 4 heads, but -n says 8" ckpt-import -n 8 ours.safetensors out
	ckpt-import ours.safetensors again.safetensors
	cmp ours.safetensors again.safetensors
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
	wrong "2 tensors are missing: logit_fc.2.* (2)" softmax "del t['logit_fc.2.bias'], t['logit_fc.2.weight']"
	wrong "2 tensors are not used by this model: a, qa_head.bias" softmax "t['a'] = t['qa_head.bias'] = ('F32', [1], bytes(4))"
	# A gap in the layers' numbers ends them.
	wrong "31 tensors are not used by this model: $bert.encoder.layer.0-1.* (31)" softmax \
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

BERT=lxrt_encoder.model.bert
LXMERT="'module.' + k.replace('lxrt_encoder.model.', '') if k.startswith('lxrt') else 'module.answer_head.' + k"

@test "names of LXMERT's pre-training" {
	ckpt-import -n 4 "$GOLDEN/softmax/weights.safetensors" want.safetensors
	rename "$LXMERT"
	python "t = load('x.safetensors')[1]
assert 'module.bert.encoder.visn_fc.box_fc.bias' in t and 'module.answer_head.logit_fc.3.weight' in t
for name in 'cls.predictions.bias', 'cls.predictions.decoder.weight', 'cls.seq_relationship.weight', 'obj_predict_head.decoder_dict.attr.bias':
    t['module.' + name] = ('I64', [1], bytes(8))
save('x.safetensors', t)"
	ckpt-import -n 4 x.safetensors got.safetensors 2>said
	diff - said <<-end
		ckpt-import: x.safetensors: 111 of 111 parameters loaded
		ckpt-import: x.safetensors: 4 not used: module.cls.predictions.bias, module.cls.predictions.decoder.weight, module.cls.seq_relationship.weight, module.obj_predict_head.decoder_dict.attr.bias
	end
	cmp want.safetensors got.safetensors
	logits softmax got
	# Without DataParallel, and the norms' old names.
	rename "(k.replace('lxrt_encoder.model.', '') if k.startswith('lxrt') else 'answer_head.' + k).replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta')"
	python "assert sum(k.endswith(('.gamma', '.beta')) for k in load('x.safetensors')[1]) == 24"
	ckpt-import -n 4 x.safetensors got.safetensors
	cmp want.safetensors got.safetensors
}

@test "names of Hugging Face's LXMERT" {
	ckpt-import -n 4 "$GOLDEN/softmax/weights.safetensors" want.safetensors
	rename "k.replace('lxrt_encoder.model.bert', 'lxmert') if k.startswith('lxrt') else 'answer_head.' + k"
	python "t = load('x.safetensors')[1]
assert 'lxmert.encoder.visn_fc.box_fc.bias' in t and 'answer_head.logit_fc.3.weight' in t
t['lxmert.embeddings.position_ids'] = ('I64', [1], bytes(8)) # a constant that older versions keep
save('x.safetensors', t)"
	fails_with 1 "ckpt-import: x.safetensors: 'hidden' is 32, expected a multiple of 12 heads" ckpt-import x.safetensors got.safetensors
	ckpt-import -n 4 x.safetensors got.safetensors 2>said
	[ "$(cat said)" = 'ckpt-import: x.safetensors: 111 of 111 parameters loaded' ]
	cmp want.safetensors got.safetensors
	logits softmax got
	rm got.safetensors
	# An encoder alone: its head is missing.
	rename "k.replace('$BERT.', '')"
	python "save('x.safetensors', {k: v for k, v in load('x.safetensors')[1].items() if not k.startswith('logit_fc')})"
	fails_with 1 "ckpt-import: x.safetensors: tensor 'logit_fc.3.weight' is missing" ckpt-import -n 4 x.safetensors got.safetensors
	fails_with 1 "ckpt-import: x.safetensors: tensor 'logit_fc.3.weight' is missing, and without -A nothing tells how many answers there are" \
		ckpt-import -n 4 --allow-missing x.safetensors got.safetensors
	jq -nc '["yes","no"]' >answers.json
	fails_with 1 "ckpt-import: x.safetensors: 6 tensors are missing: logit_fc.0.* (2), logit_fc.2-3.* (4)" \
		ckpt-import -n 4 -A answers.json x.safetensors got.safetensors
	fails_with 1 "ckpt-import: x.safetensors: tensor 'logit_fc.3.weight' is missing, whose rows are to be found by their answers" \
		ckpt-import -n 4 --allow-missing -A answers.json --lxmert-answers answers.json x.safetensors got.safetensors
	[ ! -e got.safetensors ]
	ckpt-import -n 4 --allow-missing -A answers.json x.safetensors got.safetensors 2>said
	diff - said <<-end
		ckpt-import: x.safetensors: 105 of 111 parameters loaded
		ckpt-import: x.safetensors: 6 missing, which begin as in a new checkpoint: logit_fc.0.* (2), logit_fc.2-3.* (4)
	end
	python "
want, got = load('want.safetensors')[1], load('got.safetensors')[1]
assert got['logit_fc.3.weight'][1] == [2, 64] and got['logit_fc.3.bias'][1] == [2]
assert all(got[k] == want[k] for k in want if not k.startswith('logit_fc'))"
}

@test "a model that transformers saved gives transformers' logits" {
	cp "$GOLDEN"/hugging-face/{config.json,model.safetensors} .
	ckpt-import model.safetensors out.safetensors 2>said
	[ "$(cat said)" = 'ckpt-import: model.safetensors: 153 of 153 parameters loaded' ]
	[ "$(ckpt-info --json out | jq -c '[.config.heads, .config.dropout, .config.language, .config.cross, .config.vision]')" = '[4,0.1,2,2,1]' ]
	ckpt-info --json out | jq -c .answers | diff - <(jq -c '.id2label | to_entries | sort_by(.key | tonumber) | map(.value)' config.json)
	logits hugging-face out
}

@test "config.json: what no tensor tells, and what it must not contradict" {
	cp "$GOLDEN"/hugging-face/{config.json,model.safetensors} .
	mv config.json good.json
	config() {
		jq "$1" good.json >config.json
	}
	bad() {
		config "$2"
		fails_with 1 "ckpt-import: config.json: $1" ckpt-import model.safetensors out
		[ ! -e out ]
	}
	bad "'l_layers' is 9, but the tensors have 2" '.l_layers = 9'
	bad "'x_layers' is 1, but the tensors have 2" '.x_layers = 1'
	bad "'r_layers' is 2, but the tensors have 1" '.r_layers = 2'
	bad "'hidden_size' is 768, but the tensors have 32" '.hidden_size = 768'
	bad "'intermediate_size' is 3072, but the tensors have 64" '.intermediate_size = 3072'
	bad "'vocab_size' is 61, but the tensors have 60" '.vocab_size = 61'
	bad "'max_position_embeddings' is 512, but the tensors have 24" '.max_position_embeddings = 512'
	bad "'visual_feat_dim' is 2048, but the tensors have 24" '.visual_feat_dim = 2048'
	bad "'visual_pos_dim' is 6, but the tensors have 4" '.visual_pos_dim = 6'
	bad "'type_vocab_size' is 1, but the tensors have 2" '.type_vocab_size = 1'
	bad "'vocab_size' is no integer from 0 to 16777216" '.vocab_size = "60"'
	bad "'num_attention_heads' is no integer from 1 to 1024" '.num_attention_heads = 0'
	bad "'hidden_act' is 'relu', expected 'gelu'" '.hidden_act = "relu"'
	bad "'model_type' is 'bert', expected 'lxmert'" '.model_type = "bert"'
	bad "'model_type' is no string, expected 'lxmert'" '.model_type = 1'
	bad "'hidden_dropout_prob' is no number from 0 to below 1" '.hidden_dropout_prob = 1'
	bad "'id2label' is no object of 1 to 65536 labels" '.id2label = ["yes"]'
	bad "'id2label' is no object of 1 to 65536 labels" '.id2label = {}'
	bad "'id2label' has no string for 3" 'del(.id2label["3"])'
	bad "'id2label' has no string for 1" '.id2label["1"] = 1'
	bad "'id2label': answers 0 and 1 are both 'yes'" '.id2label["1"] = "yes"'
	bad "no JSON object" '[.]'
	printf '{"a":\n' >config.json
	fails_with 1 "ckpt-import: config.json: line 2, byte 6: unexpected token near end of file" ckpt-import model.safetensors out
	config .
	fails_with 1 "ckpt-import: config.json: 'num_attention_heads' is 4, but -n says 8" ckpt-import -n 8 model.safetensors out
	config '.num_attention_heads = 5'
	fails_with 1 "ckpt-import: model.safetensors: 'hidden' is 32, expected a multiple of 5 heads" ckpt-import model.safetensors out

	# Labels without meaning, or of another task, name nothing; -A comes first.
	said() {
		config "$1"
		ckpt-import "${@:2}" model.safetensors out.safetensors 2>said
		sed -i 's/^ckpt-import: //' said
		tail -n 1 said | grep -qx 'model.safetensors: 153 of 153 parameters loaded'
	}
	said '.id2label |= with_entries(.value = "LABEL_" + .key) | .hidden_dropout_prob = 0.25 | del(.num_attention_heads)' -n 4
	[ "$(ckpt-info --json out | jq -c '[.answers, .config.dropout]')" = '[null,0.25]' ]
	said '.id2label = {"0": "entailment", "1": "contradiction"}'
	[ "$(head -n 1 said)" = "config.json: 'id2label' is passed over: 2 labels, but 'model.safetensors' has 11 answers" ]
	[ "$(ckpt-info --json out | jq -c .answers)" = null ]
	jq -nc '[range(11) | "a\(.)"]' >answers.json
	said . -A answers.json
	[ "$(ckpt-info --json out | jq -c .answers)" = "$(cat answers.json)" ]
	# It is for transformers' models alone.
	ckpt-import -n 4 "$GOLDEN/softmax/weights.safetensors" want.safetensors
	cp "$GOLDEN/softmax/weights.safetensors" .
	ckpt-import -n 4 weights.safetensors got.safetensors
	cmp want.safetensors got.safetensors
}

@test "LXMERT's answer head is moved over by the answers' words" {
	rename "$LXMERT"
	# Eleven answers, as the head has rows, in the form of all_ans.json.
	jq -n '["yes","no","dog","2","gray","apple","blue car","man","café","","the"] | map({ans: ., dsets: ["vqa"]})' >all.json
	jq -nc '["the dog","Yes.","grey","a blue car","zebra","two","Dog","an apple","3","A MAN","CAFÉ",""," yes"]' >ours.json
	ckpt-import -n 4 -A ours.json --lxmert-answers all.json x.safetensors out.safetensors 2>said
	diff - said <<-end
		ckpt-import: x.safetensors: 111 of 111 parameters loaded
		ckpt-import: x.safetensors: 10 of 13 answers found; these begin with a row of 0: 'zebra', '3', ' yes'
	end
	[ "$(ckpt-info --json out | jq -c .answers)" = "$(cat ours.json)" ]
	python "
theirs, ours = load('x.safetensors')[1], load('out.safetensors')[1]
rows = [2, 0, 4, 6, None, 3, 2, 5, None, 7, 8, 9, None]
for part, size in ('weight', 256), ('bias', 4):
    a, b = theirs['module.answer_head.logit_fc.3.' + part][2], ours['logit_fc.3.' + part][2]
    assert len(b) == 13 * size
    for i, row in enumerate(rows):
        want = bytes(size) if row is None else a[row * size:(row + 1) * size]
        assert b[i * size:(i + 1) * size] == want, (part, i)
for k, v in ours.items():
    if not k.startswith('logit_fc.3'):
        assert v == theirs['module.' + k.replace('lxrt_encoder.model.', '') if k.startswith('lxrt') else 'module.answer_head.' + k]"
	# Without our own answers the head stays as it is, with their names.
	ckpt-import -n 4 --lxmert-answers all.json x.safetensors out.safetensors
	[ "$(ckpt-info --json out | jq -c .answers)" = "$(jq -c 'map(.ans)' all.json)" ]
	python "assert load('out.safetensors')[1]['logit_fc.3.weight'] == load('x.safetensors')[1]['module.answer_head.logit_fc.3.weight']"
	jq '.[1:]' all.json >short.json
	fails_with 1 "ckpt-import: short.json: 10 answers, but 'x.safetensors' has 11 rows of logit_fc.3" \
		ckpt-import -n 4 -A ours.json --lxmert-answers short.json x.safetensors none
	jq '.[1].ans = 1' all.json >bad.json
	fails_with 1 "ckpt-import: bad.json: answer 1 is no string" ckpt-import -n 4 -A ours.json --lxmert-answers bad.json x.safetensors none
	jq '.[4].ans = "no"' all.json >bad.json
	fails_with 1 "ckpt-import: bad.json: answers 1 and 4 are both 'no'" ckpt-import -n 4 -A ours.json --lxmert-answers bad.json x.safetensors none
	[ ! -e none ]
	# Many that are not found: as many as have room.
	jq -nc '[range(2000) | "unheard of \(.)"]' >ours.json
	ckpt-import -n 4 -A ours.json --lxmert-answers all.json x.safetensors out.safetensors 2>said
	sed -n '2s/.*row of 0: //p' said | grep -q "^'unheard of 0', .*, 'unheard of 40', .*', \.\.\.$"
}

@test "what is missing begins as in a new checkpoint, what is not used is left out, if asked for" {
	change softmax "del t['$BERT.pooler.dense.weight'], t['$BERT.pooler.dense.bias']
t['qa_head.bias'] = t['qa_head.weight'] = ('F32', [1], bytes(4))"
	fails_with 1 "ckpt-import: x.safetensors: 2 tensors are missing: $BERT.pooler.dense.* (2)" ckpt-import -n 4 --allow-unused x.safetensors out
	fails_with 1 "ckpt-import: x.safetensors: 2 tensors are not used by this model: qa_head.* (2)" ckpt-import -n 4 --allow-missing x.safetensors out
	local seed
	for seed in 1 1 2; do
		ckpt-import -n 4 -r $seed --allow-missing --allow-unused x.safetensors $seed.safetensors 2>said
	done
	diff - said <<-end
		ckpt-import: x.safetensors: 109 of 111 parameters loaded
		ckpt-import: x.safetensors: 2 missing, which begin as in a new checkpoint: $BERT.pooler.dense.* (2)
		ckpt-import: x.safetensors: 2 not used: qa_head.* (2)
	end
	{ printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' && seq 56; } >vocab.txt
	jq -nc '[range(11) | "a\(.)"]' >answers.json
	ckpt-init -L 2,1,1 -H 32 -n 4 -F 64 -f 24 -r 1 -V vocab.txt -A answers.json new.safetensors
	python "
names = ['$BERT.pooler.dense.weight', '$BERT.pooler.dense.bias']
new, one, two, golden = (load(f)[1] for f in ('new.safetensors', '1.safetensors', '2.safetensors', '$GOLDEN/softmax/weights.safetensors'))
assert all(one[k] == new[k] for k in names)
assert two[names[0]] != one[names[0]] and not any(values(two[names[1]]))
assert all(one[k] == golden[k] for k in golden if k not in names)"
}
