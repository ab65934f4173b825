#!/usr/bin/env bats
# Multiplications and parameters against the reference's figures and against counting once more.
load helper

@test "manners" {
	manners flopreport
}

# full OPTION…: a state dict of the reference's own size, full.safetensors: every shape, and a hole for the data. The sizes of a small
# model are all different, so that each tells which of the large it stands for.
full() {
	jq -n '[range(11) | tostring]' >eleven.json
	ckpt-init -H 24 -n 12 -F 40 -f 56 "$@" -A eleven.json small.safetensors
	/usr/bin/python3 - <<-'END'
		import json, struct
		data = open('small.safetensors', 'rb').read()
		header = json.loads(data[8:8 + struct.unpack('<Q', data[:8])[0]])
		del header['__metadata__']
		large, at = {24: 768, 48: 1536, 40: 3072, 56: 2048, 11: 3129}, 0
		for tensor in header.values():
		    tensor['shape'] = [large.get(n, n) for n in tensor['shape']]
		    n = 4
		    for extent in tensor['shape']:
		        n *= extent
		    tensor['data_offsets'] = [at, at + n]
		    at += n
		text = json.dumps(header).encode()
		with open('full.safetensors', 'wb') as file:
		    file.write(struct.pack('<Q', len(text)) + text)
		    file.truncate(8 + len(text) + at)
	END
}

# of PART COLUMN
of() {
	awk -F '\t' -v part="$1" -v column="$2" 'NR == 1 { for (i = 1; i <= NF; i++) c[$i] = i } $1 == part { print $c[column] }' got
}

# reference.md's figures: parameters and padded multiplications of linear layers at 9-5-5; thop's figure at 9-6-6 is exactly twice the
# latter there (nbs/flops.ipynb).
@test "the reference's figures at its own size" {
	full -L 9,5,5
	flopreport full >got
	[ "$(of total params)" = 213930297 ]
	[ "$(of total macs)" = 5253760512 ]
	full -L 9,6,6
	flopreport full >got
	[ "$((2 * $(of total macs)))" = 12074093568 ]
}

@test "what is computed here, by hand" {
	full -L 9,5,5
	flopreport -t 10 -n 30 full >got
	python "
D, F, T, R = 768, 3072, 10, 30
dense = lambda q, k: (2 * q + 2 * k) * D * D
ffn = lambda n: 2 * n * D * F
scores = lambda q, k: 2 * q * k * D
rows = [line.rstrip('\n').split('\t') for line in open('got')]
assert rows[0][:6] == ['part', 'macs', 'params', 'attention', 'macs_here', 'attention_here']
got = {r[0]: [int(x) for x in r[4:6]] for r in rows[1:]}
side = lambda n: dense(n, n) + ffn(n)
last = dense(T, R) + dense(1, T) + ffn(1)
assert got['regions'] == [R * 2052 * D, 0]
assert got['language'] == [9 * side(T), 9 * scores(T, T)]
assert got['vision'] == [5 * side(R), 5 * scores(R, R)]
assert got['cross'] == [4 * (2 * dense(T, R) + side(T) + side(R)) + last, 4 * (2 * scores(T, R) + scores(T, T) + scores(R, R)) + scores(T, R) + scores(1, T)]
assert got['head'] == [2 * D * D + 2 * D * 3129, 0]
parts = ['embeddings', 'regions', 'language', 'vision', 'cross', 'pooler', 'head']
assert got['total'] == [sum(got[p][i] for p in parts) for i in (0, 1)]
assert [r[0] for r in rows[1:8]] == parts"
}

# A question's part of an image's products, every product listed once more: rows, inputs, outputs.
@test "what is computed when answering, by hand" {
	full -L 9,5,5
	for shape in '5.4 9.6 36' '4 10 30' '1 10 30'; do
		read -r i t n <<<"$shape"
		flopreport -i "$i" -t "$t" -n "$n" full >got
		python "
Q, T, R, D, F = $i, $t, $n, 768, 3072
rows = [line.rstrip('\n').split('\t') for line in open('got')]
assert rows[0][6:] == ['macs_answering', 'attention_answering']
got = {r[0]: [int(x) for x in r[6:8]] for r in rows[1:]}
of_image = [(R, 2048, D), (R, 4, D)] + 5 * [(R, D, 3 * D), (R, D, D), (R, D, F), (R, F, D)] + [(R, D, 3 * D)]
def layer(n): return [(n, D, 3 * D), (n, D, D), (n, D, F), (n, F, D)]
first = [(T, D, 3 * D), (T, D, D), (R, D, D)] + layer(T) + layer(R)
other = [(R, D, 3 * D)] + first
last = [(T, D, D), (R, D, 2 * D), (T, D, D), (1, D, D), (T, D, 2 * D), (1, D, D), (1, D, F), (1, F, D)]
top = [(1, D, D), (1, D, 2 * D), (1, 2 * D, 3129)]
macs = lambda products: sum(a * b * c for a, b, c in products)
want = macs(9 * layer(T) + first + 3 * other + last + top) + macs(of_image) / Q
assert abs(got['total'][0] - want) <= 0.5, (got['total'], want)
words, regions, between = 2 * T * T * D, 2 * R * R * D, 2 * T * R * D
want = 9 * words + 5 * regions / Q + 4 * (2 * between + words + regions) + between + 2 * T * D
assert abs(got['total'][1] - want) <= 0.5, (got['total'], want)
assert abs(got['vision'][0] - macs(5 * layer(R)) / Q) <= 0.5 and abs(got['regions'][0] - R * 2052 * D / Q) <= 0.5
# 2.65 G with the products of attention, twice less than padded.
if Q == 5.4:
    assert 2.6e9 < sum(got['total']) < 2.7e9, got['total']
    assert [r[6:8] for r in rows[1:] if r[0] == 'language'] == [r[4:6] for r in rows[1:] if r[0] == 'language']
if Q == 1:
    assert all(r[4:6] == r[6:8] for r in rows[1:])"
	done
	# By default VQA's.
	cmp <(flopreport full) <(flopreport -i 5.4 -t 9.6 -n 36 full)
}

# Half is padding, the last layer's rest is dead: README's and DESIGN's 3.7 G.
@test "the usual question costs 3.7 G" {
	full -L 9,5,5
	flopreport full >got
	[ "$(of total macs_here | cut -c 1-2)" = 37 ]
	flopreport -t 20 full >got
	[ "$(of total macs)" -gt "$(of total macs_here)" ]
	[ "$(of language macs)" = "$(of language macs_here)" ]
}

@test "what a layer less saves is the difference of two models" {
	full -L 3,3,3
	flopreport -i 4 full >three
	for stack in language,2,3,3 cross,3,2,3 vision,3,3,2; do
		full -L "${stack#*,}"
		flopreport -i 4 full >got
		awk -F '\t' -v row="prune-${stack%%,*}" '
			NR == FNR && $1 == "total" { for (i = 2; i <= 8; i++) whole[i] = $i }
			NR == FNR && $1 == row { for (i = 2; i <= 8; i++) less[i] = $i; n++ }
			NR != FNR && $1 == "total" { for (i = 2; i <= 8; i++) if (whole[i] - less[i] != $i) exit 1 }
			END { exit n != 1 }' three got
	done
	# A stack without a layer to spare, or with the last cross layer alone, saves nothing.
	full -L 0,1,0
	[ "$(flopreport full | grep -c prune)" = 0 ]
}

# A model whose spans are all 0 leaves out 4 of 36 regions and no word.
@test "what spans save at most" {
	prepare
	ckpt-init -L 1,2,1 -H 32 -n 4 -F 64 -f 360 -a -A answers.json x.safetensors
	python "
meta, tensors = load('x.safetensors')
save('zero.safetensors', {k: (t[0], t[1], bytes(16) if 'adaptive_span' in k else t[2]) for k, t in tensors.items()}, meta)
save('half.safetensors', {k: (t[0], t[1], struct.pack('<4f', 0, 0, 1, 1) if 'adaptive_span' in k else t[2]) for k, t in tensors.items()}, meta)
save('one.safetensors', {k: (t[0], t[1], struct.pack('<4f', 1, 1, 1, 1) if 'adaptive_span' in k else t[2]) for k, t in tensors.items()}, meta)"
	flopreport -i 4 -t 10 zero >got
	D=32
	# Queries that have regions as keys: vision 1 x 36, cross 2 x 20 words and 2 x 36; here the last cross layer has its words alone.
	[ "$(of span attention)" = "$((4 * 2 * D * (36 + 2 * 20 + 2 * 36)))" ]
	[ "$(of span attention_here)" = "$((4 * 2 * D * (36 + 10 + 36 + 10)))" ]
	[ "$(of span macs)" = "$((4 * 2 * D * D * 5))" ]
	[ "$(of span macs_here)" = "$((4 * 2 * D * D * 4))" ]
	# Of an image alone are the vision layer, and in the first cross layer the keys and values, of which cross attention's were counted.
	[ "$(of span attention_answering)" = "$((4 * 2 * D * (36 / 4 + 10 + 36 + 10)))" ]
	[ "$(of span macs_answering)" = "$((4 * 2 * D * D * 2 + 4 * 2 * D * D * 2 / 4))" ]
	flopreport -t 10 half >got
	[ "$(of span attention)" = "$((4 * 2 * D * (36 + 2 * 20 + 2 * 36) / 2))" ]
	[ "$(of span macs)" = 0 ]
	flopreport one >got
	[ "$(grep '^span' got)" = $'span\t0\t0\t0\t0\t0\t0\t0' ]
	flopreport tiny | grep -c '^span' | grep -qx 0
}

@test "plot, and wrong usage" {
	prepare
	flopreport -p x.svg tiny >out
	[ ! -s out ]
	for text in tiny.safetensors cross language here padded answering 'attention products'; do
		grep -qF ">$text<" <(tr -d '\n\t' <x.svg)
	done
	flopreport -p x.png tiny
	[ "$(head -c 8 x.png | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ]
	fails_with 2 "flopreport: option -t: 21, but the checkpoint takes at most 20" flopreport -t 21 tiny
	fails_with 2 "flopreport: option -n: 37, but the checkpoint takes at most 36" flopreport -n 37 tiny
	fails_with 2 "flopreport: option -t: '0' is not a number from 1 to 512" flopreport -t 0 tiny
	fails_with 2 "flopreport: option -i: '0.5' is not a number from 1 to 10000" flopreport -i 0.5 tiny
	fails_with 1 "flopreport: stdout: cannot write: No space left on device" bash -c 'flopreport tiny >/dev/full'
	fails_with 2 "flopreport: too many operands: 'tiny' was not expected; see flopreport --help" flopreport tiny tiny
}
