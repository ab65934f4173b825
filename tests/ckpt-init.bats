load helper

SMALL=(-L 1,1,1 -H 32 -n 4 -F 64 -f 10)

setup() {
	cd "$BATS_TEST_TMPDIR" || exit 1
	cp "$GOLDEN/easy-vqa/answers.json" .
	# A small vocabulary keeps the files small.
	printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' '[MASK]' a b c d e >vocab.txt
}

init() {
	ckpt-init "${SMALL[@]}" -V vocab.txt -A answers.json "$@"
}

@test "manners" {
	manners ckpt-init
}

@test "sizes are as asked for, the rest is as the page says" {
	init -s --objects 9 --max-tokens 12 --dropout 0.2 --source 'grid 1' a.safetensors
	[ "$(ckpt-info --json a | jq -cS '.config | del(.vocab_hash)')" = "$(jq -cS . <<<'
		{"language":1,"cross":1,"vision":1,"hidden":32,"heads":4,"ffn":64,"features":10,"vocabulary":10,"positions":512,
		"max_tokens":12,"objects":9,"answers":13,"sparse":true,"dropout":0.2,"feature_source":"grid 1",
		"adaptive":false,"span_rows":1,"span_unit":1024,"span_ramp":32,"span_loss":5e-6,"span_init":0.002,"layerdrop":0}')" ]
	init -a -d 2 --span-rows 3 --span-unit 100 --span-ramp 4 --span-loss 0.5 --span-init 0.25 d.safetensors
	[ "$(ckpt-info --json d | jq -c '.config | [.adaptive, .layerdrop, .span_rows, .span_unit, .span_ramp, .span_loss, .span_init]')" = \
		'[true,2,3,100,4,0.5,0.25]' ]
	ckpt-info --json a | jq -r '.config.vocab_hash' | grep -Eqx '[0-9a-f]{16}'
	[ "$(ckpt-info --json a | jq -c .answers)" = "$(jq -c . answers.json)" ]
	init -L 2,1,0 b.safetensors
	[ "$(ckpt-info --json b | jq -c '.config | [.language, .cross, .vision, .sparse, .dropout, .max_tokens, .objects, .feature_source]')" = '[2,1,0,false,0.1,20,36,""]' ]
	# Without -V it is the shipped vocabulary.
	ckpt-init "${SMALL[@]}" -A answers.json c.safetensors
	[ "$(ckpt-info --json c | jq .config.vocabulary)" = 30522 ]
}

@test "the beginning depends on the seed alone" {
	init -s -r 1 a.safetensors
	init -s -r 1 b.safetensors
	init -s -r 2 c.safetensors
	cmp a.safetensors b.safetensors
	run -1 cmp -s a.safetensors c.safetensors
}

@test "parameters begin as the reference's do" {
	begins() {
		python "
want = $2
with open('$1', 'rb') as file:
    assert (8 + struct.unpack('<Q', file.read(8))[0]) % 64 == 0
meta, tensors = load('$1')
assert meta['format'] == 'pt'
normal = []
for name, t in tensors.items():
    x = values(t)
    norm = 'LayerNorm' in name or 'layer_norm' in name or name.startswith('logit_fc.2.')
    if name.endswith('.bias'):
        assert not any(x), name
    elif norm:
        assert all(v == 1 for v in x), name
    elif name.endswith('.alpha'):
        assert t[1] == [4] and all(1.01 <= v <= 2 for v in x) and len(set(x)) == 4, name
    else:
        deviation = math.sqrt(sum(v * v for v in x) / len(x))
        assert abs(deviation - want) < want * 4 / math.sqrt(2 * len(x)), (name, deviation)
        normal += x
assert abs(sum(normal) / len(normal)) < 4 * want / math.sqrt(len(normal))
inside = sum(abs(v) < want for v in normal) / len(normal)
assert abs(inside - 0.6827) < 0.01, inside
assert len(set(normal)) > 0.99 * len(normal)
"
	}
	init -s a.safetensors
	begins a.safetensors 0.02
	init -s --init-range 0.1 b.safetensors
	begins b.safetensors 0.1
}

@test "wrong usage" {
	fails_with 2 "ckpt-init: no answers, expected -A FILE" ckpt-init a
	fails_with 2 "ckpt-init: too few operands: found 0, expected OUT; see ckpt-init --help" init
	local layers
	for layers in 1,1 1,1,1,1 1,,1 1,1, 1,1,x 1,0,1 -1,1,1 1,1,257 '' 1,1,0000000001; do
		fails_with 2 "ckpt-init: option -L: '$layers' is no LANG,CROSS,VISION of numbers to 256, CROSS from 1" init -L "$layers" a
	done
	fails_with 2 "ckpt-init: 'hidden' is 32, expected a multiple of 5 heads" init -n 5 a
	fails_with 2 "ckpt-init: option -H: '0' is not a whole number from 1 to 16384" init -H 0 a
	fails_with 2 "ckpt-init: option --dropout: '1' is not a number from 0 to 0.99" init --dropout 1 a
	fails_with 2 "ckpt-init: option --source: expected at most 255 bytes of UTF-8" init --source $'\xff' a
	fails_with 2 "ckpt-init: option --source: expected at most 255 bytes of UTF-8" init --source "$(printf '%0256d' 0)" a
	[ "$(ls)" = "$(printf '%s\n' answers.json fails_with.err fails_with.out vocab.txt)" ]
}

@test "answers and vocabularies that are none" {
	bad() {
		fails_with 1 "ckpt-init: x.json: $1" ckpt-init "${SMALL[@]}" -V vocab.txt -A x.json a
	}
	bad "cannot open: No such file or directory"
	: >x.json
	bad "line 1, byte 0: '[' or '{' expected near end of file"
	printf '["yes",\n "no' >x.json
	bad "line 2, byte 12: premature end of input near '\"no'"
	echo '{"yes": 1}' >x.json
	bad "the answer list is no JSON array of 1 to 65536 strings"
	echo '[]' >x.json
	bad "the answer list is no JSON array of 1 to 65536 strings"
	echo '["yes", 1]' >x.json
	bad "answer 1 is no string"
	echo '["yes", "no", "yes"]' >x.json
	bad "answers 0 and 2 are both 'yes'"
	jq -nc '[range(65537) | tostring]' >x.json
	bad "the answer list is no JSON array of 1 to 65536 strings"
	printf 'a\nb\n' >x.txt
	local status=0
	ckpt-init "${SMALL[@]}" -V x.txt -A answers.json a 2>said || status=$?
	[ "$status" = 1 ]
	grep -q '^ckpt-init: x.txt' said
	[ ! -e a ]
}

@test "what was there stays until the new one is whole" {
	init -r 1 a.safetensors
	cp a.safetensors before
	fails_with 1 "ckpt-init: a.safetensors: cannot write: File too large" \
		bash -c "trap '' XFSZ; ulimit -f 8; exec ckpt-init ${SMALL[*]} -V vocab.txt -A answers.json a.safetensors"
	cmp a.safetensors before
	[ -z "$(find . -name '*.new.*')" ]
	fails_with 1 "ckpt-init: none/a: cannot create: No such file or directory" init none/a
	mkfifo pipe
	fails_with 1 "ckpt-init: pipe: is there and no regular file" init pipe
	mkdir folder
	fails_with 1 "ckpt-init: folder: is there and no regular file" init folder
	[ -p pipe ]
}

BERT=lxrt_encoder.model.bert

# pretrained PYTHON: the softmax golden with 512 positions (t) changed by PYTHON as x.safetensors; names of the encoder are bare
pretrained() {
	python "
t = load('$GOLDEN/softmax/weights.safetensors')[1]
t = {k.replace('$BERT.', ''): v for k, v in t.items()}
t['embeddings.position_embeddings.weight'] = ('F32', [512, 32], struct.pack('<16384f', *range(16384)))
def bert(): # of three layers
    return {k: v for k, v in t.items() if k.startswith(('embeddings.', 'encoder.layer.', 'pooler.'))} | {
        k.replace('layer.1', 'layer.2'): v for k, v in t.items() if k.startswith('encoder.layer.1')}
$1
save('x.safetensors', t)"
}

# beside [OPTION...] OUT: a model that fits it
beside() {
	{ printf '%s\n' '[PAD]' '[UNK]' '[CLS]' '[SEP]' && seq 56; } >vocab60.txt
	ckpt-init -L 2,1,1 -H 32 -n 4 -F 64 -f 24 -r 5 -V vocab60.txt -A answers.json "$@"
}

@test "--bert: embeddings, the first language layers and the pooler" {
	beside plain.safetensors
	local names
	# Hugging Face's, with and without their prefix, with a head of pre-training; and the first ones, after TensorFlow's.
	for names in 'k' "'bert.' + k" "'module.bert.' + k.replace('LayerNorm.weight', 'LayerNorm.gamma').replace('LayerNorm.bias', 'LayerNorm.beta')"; do
		pretrained "t = {$names: v for k, v in bert().items()}
t['cls.predictions.bias'] = ('F32', [60], bytes(240))"
		beside --bert x.safetensors out.safetensors 2>said
		local p
		p=$(python "print([k for k in load('x.safetensors')[1] if 'layer.2' in k][0].split('encoder')[0])")
		diff - said <<-end
			ckpt-init: x.safetensors: 39 of 111 parameters loaded
			ckpt-init: x.safetensors: 72 missing, which begin as in a new checkpoint: logit_fc.0.* (2), logit_fc.2-3.* (4), $BERT.encoder.r_layers.0.* (16), $BERT.encoder.visn_fc.box_fc.* (2), $BERT.encoder.visn_fc.box_layer_norm.* (2), $BERT.encoder.visn_fc.visn_fc.* (2), $BERT.encoder.visn_fc.visn_layer_norm.* (2), $BERT.encoder.x_layers.0.* (42)
			ckpt-init: x.safetensors: 17 not used: cls.predictions.bias, ${p}encoder.layer.2.* (16)
		end
		pretrained "t = bert()"
		python "
plain, out, theirs = load('plain.safetensors'), load('out.safetensors'), load('x.safetensors')[1]
assert plain[0] == out[0] and list(plain[1]) == list(out[1])
loaded = 0
for k, v in out[1].items():
    own = theirs.get(k.replace('$BERT.', ''))
    loaded += own is not None
    assert v == (own or plain[1][k]), k
assert loaded == 39"
	done
	# With LayerDrop, spans and alphas it is the same: these have no place in a BERT.
	beside -s -a -d 1 plain.safetensors
	beside -s -a -d 1 --bert x.safetensors out.safetensors 2>said
	grep -qx 'ckpt-init: x.safetensors: 39 of 123 parameters loaded' said
	python "
plain, out, theirs = (load(f)[1] for f in ('plain.safetensors', 'out.safetensors', 'x.safetensors'))
for k, v in out.items():
    assert v == (theirs.get(k.replace('$BERT.', '')) or plain[k]), k"
}

@test "--lxmert: everything but what it cannot have; answers by their words" {
	jq '[(.[], "unheard of") | {ans: ., dsets: ["vqa"]}] | .[3:]' answers.json >all.json
	[ "$(jq length all.json)" = 11 ]
	pretrained "t = {('module.answer_head.' if k.startswith('logit') else 'module.bert.') + k: v for k, v in t.items()}
t['module.cls.seq_relationship.bias'] = ('F32', [2], bytes(8))"
	beside -a -s -d 2 plain.safetensors
	beside -a -s -d 2 --lxmert x.safetensors --lxmert-answers all.json out.safetensors 2>said
	grep -qx 'ckpt-init: x.safetensors: 111 of 123 parameters loaded' said
	grep -qxF "ckpt-init: x.safetensors: 12 missing, which begin as in a new checkpoint: $BERT.encoder.layer.0-1.* (4), $BERT.encoder.r_layers.0.* (2), $BERT.encoder.x_layers.0.* (6)" said
	grep -qx 'ckpt-init: x.safetensors: 1 not used: module.cls.seq_relationship.bias' said
	grep -qx "ckpt-init: x.safetensors: 10 of 13 answers found; these begin with a row of 0: $(jq -r '.[:3] | map("'"'\(.)'"'") | join(", ")' answers.json)" said
	python "
plain, out, theirs = load('plain.safetensors'), load('out.safetensors'), load('x.safetensors')[1]
assert plain[0] == out[0]
for k, v in out[1].items():
    own = theirs.get('module.' + ('answer_head.' if k.startswith('logit') else '') + k.replace('lxrt_encoder.model.', ''))
    if k.startswith('logit_fc.3'):
        rows = len(own[2]) // 11
        assert v[2] == bytes(3 * rows) + own[2][:10 * rows], k
    else:
        assert v == (own or plain[1][k]), k
    assert (own is None) == k.endswith(('current_val', 'alpha')), k"
	# A head for as many answers is taken as it is.
	jq '.[:11]' answers.json >eleven.json
	beside -A eleven.json --lxmert x.safetensors out.safetensors
	python "assert load('out.safetensors')[1]['logit_fc.3.weight'] == load('x.safetensors')[1]['module.answer_head.logit_fc.3.weight']"
	fails_with 1 "ckpt-init: x.safetensors: tensor 'module.answer_head.logit_fc.3.bias' has shape [11], expected [13]" beside --lxmert x.safetensors none
	jq '.[1:]' all.json >short.json
	fails_with 1 "ckpt-init: x.safetensors: tensor 'module.answer_head.logit_fc.3.bias' has 11 rows, but the list of its answers has 10" \
		beside --lxmert x.safetensors --lxmert-answers short.json none
	# What torch wrote, and the reference's own names.
	pretrained "t = {k if k.startswith('logit') else '$BERT.' + k: v for k, v in t.items()}"
	beside -A eleven.json --lxmert x.safetensors want.safetensors
	python "
from pth import *
save_zip('x.pth', state(load('x.safetensors')[1]))"
	beside -A eleven.json --lxmert x.pth out.safetensors
	cmp want.safetensors out.safetensors
	[ ! -e none ]
}

@test "heads are those of the trained model, where it says how many" {
	beside ours.safetensors
	fails_with 1 "ckpt-init: ours.safetensors: 4 heads, expected 8 (option -n)" beside -n 8 --lxmert ours.safetensors none
	fails_with 1 "ckpt-init: ours.safetensors: 4 heads, expected 2 (option -n)" beside -n 2 --bert ours.safetensors none
	beside --lxmert ours.safetensors out.safetensors
	python "
t = load('$GOLDEN/hugging-face/model.safetensors')[1]
t['lxmert.embeddings.position_embeddings.weight'] = ('F32', [512, 32], bytes(512 * 32 * 4))
save('model.safetensors', t)"
	jq '.max_position_embeddings = 512' "$GOLDEN/hugging-face/config.json" >config.json
	jq -c '.[:11]' answers.json >eleven.json
	hugging() {
		beside -A eleven.json -L 2,2,1 --lxmert model.safetensors "$@"
	}
	fails_with 1 "ckpt-init: model.safetensors: 4 heads, expected 8 (option -n)" hugging -n 8 none
	[ ! -e none ]
	hugging -n 4 out.safetensors
	jq '.hidden_act = "relu"' config.json >other.json
	mv other.json config.json
	fails_with 1 "ckpt-init: config.json: 'hidden_act' is 'relu', expected 'gelu'" hugging none
	rm config.json
	hugging -n 8 out.safetensors
}

@test "state dicts that do not fit" {
	pretrained "t = bert()"
	fails_with 1 "ckpt-init: x.safetensors: tensor 'embeddings.LayerNorm.bias' has shape [32], expected [64]" \
		beside -H 64 --bert x.safetensors none
	fails_with 1 "ckpt-init: x.safetensors: tensor 'encoder.layer.0.intermediate.dense.bias' has shape [64], expected [65]" \
		beside -F 65 --bert x.safetensors none
	fails_with 1 "ckpt-init: x.safetensors: tensor 'embeddings.word_embeddings.weight' has shape [60, 32], expected [10, 32]" \
		beside -V vocab.txt --bert x.safetensors none
	fails_with 1 "ckpt-init: x.safetensors: 16 tensors are missing: $BERT.encoder.layer.3.* (16)" beside -L 4,1,1 --bert x.safetensors none
	beside -L 4,1,1 --allow-missing --bert x.safetensors four.safetensors 2>said
	grep -qx 'ckpt-init: x.safetensors: 55 of 143 parameters loaded' said
	fails_with 1 "ckpt-init: x.safetensors: 72 tensors are missing: logit_fc.0.* (2), logit_fc.2-3.* (4), $BERT.encoder.r_layers.0.* (16), $BERT.encoder.visn_fc.box_fc.* (2), $BERT.encoder.visn_fc.box_layer_norm.* (2), $BERT.encoder.visn_fc.visn_fc.* (2), $BERT.encoder.visn_fc.visn_layer_norm.* (2), $BERT.encoder.x_layers.0.* (42)" \
		beside --lxmert x.safetensors none
	pretrained "t = bert()
t['pooler.dense.bias'] = ('F32', [32], struct.pack('<f', float('inf')) + bytes(124))"
	fails_with 1 "ckpt-init: x.safetensors: tensor 'pooler.dense.bias': element 0 is infinite, expected a finite number" beside --bert x.safetensors none
	pretrained "t = bert()
t['bert.pooler.dense.bias'] = t['pooler.dense.bias']"
	fails_with 1 "ckpt-init: x.safetensors: tensors 'bert.pooler.dense.bias' and 'pooler.dense.bias' are the same parameter" beside --bert x.safetensors none
	fails_with 1 "ckpt-init: none: cannot open: No such file or directory" beside --bert none out
	fails_with 2 "ckpt-init: both --bert and --lxmert, expected one of them" beside --bert x.safetensors --lxmert x.safetensors none
	fails_with 2 "ckpt-init: option --lxmert-answers: expected --lxmert with it" beside --bert x.safetensors --lxmert-answers answers.json none
	[ ! -e none ]
}
