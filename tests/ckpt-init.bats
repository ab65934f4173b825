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
