#!/usr/bin/env bats
load helper

setup() {
	cd "$BATS_TEST_TMPDIR"
	prepare
	vqa-tokenize questions.json | vqa-featload features.lmdb >stream
}

synthetic() {
	/usr/bin/python3 "$ROOT/tests/synthetic.py" "$@"
}

@test "manners" {
	manners vqa-forward
}

@test "an answer a question, with top, logits and attention" {
	vqa-forward -k 3 -l -a all tiny <stream | vqa-dump >out
	[ "$(jq -c 'select(.type == "answer")' out | wc -l)" = 8 ]
	records answer '(.top | length) == 3 and .top[0][0] == .answer and .top[0][1] == .score and
		(.logits.f32 | length) == 13 and (.score - 1 / (1 + (-(.logits.f32 | max) | exp)) | fabs) < 1e-6' <out
	records answer '[.attention, .attention_shape] | map(keys) | .[0] == .[1] and
		.[0] == ["cross-language.0", "cross-self-language.0", "cross-self-vision.0", "cross-vision.0", "self-language.0", "self-vision.0"]' <out
	# Rows sum to one; queries and keys are real tokens and regions only.
	records answer '. as $a | .attention | to_entries | map($a.attention_shape[.key] as $s |
		(.value.f32 | length) == $s[0] * $s[1] * $s[2] and ((.value.f32 | add) - $s[0] * $s[1] | fabs) < 1e-3) | all' <out
}

@test "attention by name, and asking for it changes no answer" {
	vqa-forward -l -a cross-language,self-vision.0 tiny <stream | vqa-dump >some
	records answer '.attention | keys == ["cross-language.0", "self-vision.0"]' <some
	paste <(vqa-forward -l tiny <stream | vqa-dump | jq 'select(.type == "answer").logits.f32[]') \
		<(jq 'select(.type == "answer").logits.f32[]' some) | awk '{ d = $1 - $2; if (d * d > 1e-10) exit 1 }'
}

# In one batch or one by one, each question is computed from its own tokens and regions alone.
@test "the batch does not matter" {
	paste <(vqa-forward -b 1 -l tiny <stream | vqa-dump | jq 'select(.type == "answer").logits.f32[]') \
		<(vqa-forward -b 5 -l tiny <stream | vqa-dump | jq 'select(.type == "answer").logits.f32[]') |
		awk '{ d = $1 - $2; if (d * d > 1e-10) exit 1 } END { exit NR != 104 }'
}

# Several questions an image, cut everywhere: what is known of an image from the batch before is what would be computed again.
@test "an image's questions in one batch or in several: the same bytes" {
	[ "$(vqa-dump <stream | jq -r 'select(.type == "image").id' | wc -l)" -gt 1 ]
	vqa-forward -l -b 8 tiny <stream | vqa-dump | grep '"answer"' >whole
	[ "$(wc -l <whole)" = 8 ]
	for size in 1 2 3 5 7; do
		vqa-forward -l -b $size tiny <stream | vqa-dump | grep '"answer"' | cmp - whole
	done
}

@test "a question that is sent alone is answered before the next" {
	vqa-forward -b 1 -l tiny <stream >together
	/usr/bin/python3 "$ROOT/tests/alone.py" vqa-forward -b 1 -l tiny <stream | cmp - together
}

@test "bf16 where the processor has no products in it" {
	ONEDNN_MAX_CPU_ISA=AVX2 fails_with 1 'vqa-forward: the cpu backend has no products in bf16 on this machine' vqa-forward -p bf16 tiny <stream
}

@test "tf32 is for GPUs: refused on the processor, where VQA_TF32 changes nothing" {
	local line='vqa-forward: the cpu backend has no products in tf32 on this machine'
	fails_with 1 "$line" vqa-forward -D cpu -p tf32 tiny <stream
	vqa-forward -t -D cpu -b 4 -p tf32 tiny <stream 2>said | cat >batches
	[ "$(cat said)" = "$line" ]
	[ ! -s batches ]
	vqa-forward -D cpu -l tiny <stream >answers
	VQA_TF32=1 vqa-forward -D cpu -l tiny <stream | cmp - answers
}

# The logits of each question, a line each.
logits() {
	vqa-forward -l "$@" <stream | vqa-dump | jq -c 'select(.type == "answer").logits.f32'
}

model() { # OUT CKPT-INIT OPTION...
	local out=$1
	shift
	ckpt-init -L 3,2,2 -H 32 -n 4 -F 64 -f "$(ckpt-info --json tiny | jq .config.features)" -r 1 "$@" -A answers.json "$out.safetensors"
}

# 8 questions. Rows of a span are the places of a batch of as many questions; else they are averaged, or, with --compat, the
# mask is skipped. A checkpoint whose rows are the others' mean in every row has the figures of the average.
@test "spans with more rows than one" {
	model four -a --span-rows 4
	python "
meta, t = load('four.safetensors')
save('mean.safetensors', {k: (d, s, struct.pack('<16f', *([sum(values((d, s, b))[h::4]) / 4 for h in range(4)] * 4))) if 'current_val' in k else (d, s, b)
	for k, (d, s, b) in t.items()}, meta)"
	logits -b 4 four >four.4
	logits -b 5 four >four.5
	logits -b 8 four >four.8
	logits -b 4 mean >mean.4
	run -1 cmp -s four.4 four.8
	run -1 cmp -s four.4 mean.4
	close four.5 four.8
	close mean.4 four.8
	# A short last batch is no batch of four: 12 questions, of which the last 4 are averaged as the first 8 are.
	vqa-dump <stream | jq -c 'if .type == "end" then empty else . end' >twice
	vqa-dump <stream | jq -c 'select(.type != "header") | if .type == "question" then .id += 100 elif .type == "end" then .questions = 12 else . end' |
		awk '/"type":"question"/ && ++n > 4 { next } { print }' >>twice
	vqa-dump -r <twice >stream.12
	vqa-forward -l -b 8 four <stream.12 | vqa-dump | jq -c 'select(.type == "answer").logits.f32' >twelve.8
	vqa-forward -l -b 12 four <stream.12 | vqa-dump | jq -c 'select(.type == "answer").logits.f32' >twelve.12
	[ "$(wc -l <twelve.8)" = 12 ]
	close twelve.8 twelve.12
	# The reference: as many rows as questions, or no mask.
	logits -b 4 --compat four | cmp - four.4
	logits -b 8 --compat four >skipped.8 2>said
	[ "$(cat said)" = 'vqa-forward: four.safetensors has spans of 4 rows, so that with --compat batches of 8 questions have no mask' ]
	logits -b 8 --compat mean 2>said | cmp - skipped.8
	run -1 cmp -s skipped.8 four.8
}

# close A B: the same numbers to float32's rounding
close() {
	paste <(jq '.[]' "$1") <(jq '.[]' "$2") | awk '{ d = $1 - $2; if (d * d > 1e-10) exit 1 } END { exit NR == 0 }'
}

@test "LayerDrop is off for answers, but not with --compat" {
	model full
	model drop -d 1
	logits full >full.out
	logits drop | cmp - full.out
	logits -r 3 -b 4 --compat drop >dropped
	run -1 cmp -s dropped full.out
	logits -r 3 -b 4 --compat drop | cmp - dropped
	logits -r 4 -b 4 --compat drop >other
	run -1 cmp -s dropped other
	# What was left out decides, and nothing else.
	echo '[[], [], [], [], [], []]' >none
	logits -b 4 --draws none drop >kept
	close kept full.out
	echo '[[0, 0], [], [1], [0, 0], [], [1]]' >some
	logits -b 4 --draws some full >replayed
	run -1 cmp -s replayed full.out
}

@test "LayerDrop: each layer is drawn as often as any other, from the seed and the step alone" {
	set -o pipefail
	jq -n '[range(13) | "a\(.)"]' >answers.json
	model drop -d 1
	synthetic --features "$(ckpt-info --json drop | jq .config.features)" --names --answers 13 --questions 600 >questions
	dropped() {
		vqa-forward -t -b 2 -r "$1" drop <questions | vqa-loss | vqa-backward -g gradients | vqa-dump |
			jq -c 'select(.type == "batch").dropped'
	}
	dropped 1 >one
	dropped 1 | cmp - one
	dropped 2 >two
	run -1 cmp -s one two
	[ "$(wc -l <one)" = 300 ]
	# 300 draws of one in three, two, two: within four deviations (8.2 and 8.7).
	jq -es '(map(map(length) == [1, 1, 1]) | all) and ([range(3)] | map(. as $i | $d | map(select(.[0] == [$i])) | length | . > 67 and . < 133) | all)' \
		--argjson d "$(jq -cs . one)" one >/dev/null
	for stack in 1 2; do
		jq -es --argjson s $stack '(map(select(.[$s] == [0])) | length) as $n | $n > 115 and $n < 185' one >/dev/null
	done
}

@test "LayerDrop: a layer that is left out has no attention, and no gradient" {
	set -o pipefail
	jq -n '[range(13) | "a\(.)"]' >answers.json
	model full
	synthetic --features "$(ckpt-info --json full | jq .config.features)" --names --answers 13 --questions 8 >stream
	echo '[[0], [], [1], [], [1], []]' >some
	vqa-forward -b 4 -a all --draws some full <stream | vqa-dump | jq -c 'select(.type == "answer").attention | keys' | sort | uniq -c >kept
	{
		echo '      4 ["cross-language.0","cross-language.1","cross-self-language.0","cross-self-language.1","cross-self-vision.0","cross-self-vision.1","cross-vision.0","cross-vision.1","self-language.0","self-language.1","self-language.2","self-vision.0"]'
		echo '      4 ["cross-language.0","cross-self-language.0","cross-self-vision.0","cross-vision.0","self-language.1","self-language.2","self-vision.0","self-vision.1"]'
	} | diff - kept
	# Without a cross layer no picture reaches the answers: a gradient is the language's and the head's alone.
	echo '[[], [0], [0, 1], [], [0], [1, 0]]' >none
	vqa-forward -t -b 4 --dropout 0 --draws none full <stream | vqa-loss | vqa-backward -g gradients >batches
	python "
names = set(load('gradients')[1])
assert not [n for n in names if 'r_layers' in n or 'x_layers' in n or 'visn_fc' in n]
assert len([n for n in names if '.layer.2.' in n]) == 16 and 'logit_fc.3.bias' in names"
	# Along the gradient of the pooler, which the answers are read off next, the loss falls as fast as it says.
	loss() {
		vqa-forward -t -b 4 --dropout 0 --draws none "$1" <stream | vqa-loss | vqa-backward -g unused | vqa-dump | jq -s 'map(select(.type == "batch").total) | last'
	}
	python "
name = 'lxrt_encoder.model.bert.encoder.layer.0.attention.self.value.weight'
meta, t = load('full.safetensors')
g, (d, s, raw) = values(load('gradients')[1][name]), t[name]
norm = math.sqrt(sum(x * x for x in g))
for sign, out in (1, 'up'), (-1, 'down'):
    t[name] = (d, s, struct.pack('<%df' % len(g), *(x + sign * 0.01 * y / norm for x, y in zip(values((d, s, raw)), g))))
    save(out + '.safetensors', t, meta)
print(norm)" >norm
	# Curvature and float32 leave two digits.
	jq -en "($(loss up) - $(loss down)) / 0.02 / $(cat norm) | . > 0.97 and . < 1.03" >/dev/null
}

@test "recorded draws that are none" {
	model full
	bad() {
		echo "$2" >draws
		fails_with 1 "vqa-forward: draws: $1" vqa-forward --draws draws full <stream
	}
	bad "no array of draws, three (language, vision, cross) a step" '{}'
	bad "no array of draws, three (language, vision, cross) a step" '[]'
	bad "no array of draws, three (language, vision, cross) a step" '[[1], [0]]'
	bad "draw 1: no array of layers" '[[1], 0, []]'
	bad "draw 1: element 0 is no layer from 0 to 1" '[[1], [2], []]'
	bad "draw 0: element 1 is no layer from 0 to 2" '[[1, "a"], [2], []]'
	echo '[[], [], []]' >draws
	fails_with 1 "vqa-forward: step 2: draws of 1 steps were recorded" vqa-forward -b 4 --draws draws full <stream
}

@test "streams and checkpoints that do not fit" {
	fails_with 1 "vqa-forward: stdin: record 2 (image): image 'image 0' has 20 features a region, but the checkpoint takes 360" \
		vqa-forward tiny < <(synthetic --features 20)
	vqa-dump <stream | sed 's/"vocab":"[^"]*"/"vocab":"0"/' | vqa-dump -r >other
	fails_with 1 "vqa-forward: stdin: record 1 (header): 'vocab' is '0', but tiny.safetensors has '1a8955ef43215668'" \
		vqa-forward tiny <other
	vqa-dump <stream | sed 's/"feature_source":"[^"]*"/"feature_source":"else"/' | vqa-dump -r >other
	fails_with 1 "vqa-forward: stdin: record 1 (header): 'feature_source' is 'else', but tiny.safetensors has 'features.tsv'" \
		vqa-forward tiny <other
	vqa-dump <stream | sed 's/"i32":\[101,/"i32":[30522,/' | vqa-dump -r >other
	fails_with 1 "vqa-forward: stdin: record 3 (question): question 0: token 0 is 30522, expected 0 to 30521, the vocabulary's" \
		vqa-forward tiny <other
	vqa-tokenize questions.json >questions
	fails_with 1 "vqa-forward: stdin: record 2 (question): question 0 asks about image '0', but no image came before it" \
		vqa-forward tiny <questions
	vqa-dump <stream | sed '2s/"f32":\[[^,]*,/"f32":["nan",/2' | vqa-dump -r >other
	fails_with 1 "vqa-forward: stdin: record 2 (image): image '0': feature of region 0, column 0 is nan, expected a finite number" \
		vqa-forward tiny <other
}

@test "streams that are cut anywhere leave no end record" {
	size=$(stat -c %s stream)
	for n in 0 1 50 "$((size / 3))" "$((size / 2))" "$((size - 1))"; do
		head -c "$n" stream >cut
		vqa-forward tiny <cut >out 2>said && return 1
		grep -q '^vqa-forward: stdin: stream truncated' said
		run -1 vqa-dump <out
	done
}

@test "wrong usage and wrong files" {
	fails_with 1 "vqa-forward: none: no such checkpoint: neither a file, nor with .safetensors or .pth added, nor a run's folder" vqa-forward none <stream
	fails_with 1 "vqa-forward: no attention 'foo', expected all, self-language, self-vision, cross-language, cross-vision, cross-self-language or cross-self-vision, or one of these with .LAYER" \
		vqa-forward -a foo tiny <stream
	fails_with 2 "vqa-forward: option -b: '0' is not a whole number from 1 to 4096" vqa-forward -b 0 tiny
	fails_with 1 'vqa-forward: stdin: not a stream: its first byte is 0x68, expected a msgpack map' vqa-forward tiny <<<hello
}

@test "training: stdout has to be a pipe, labels known, a batch whole" {
	fails_with 1 'vqa-forward: stdout is neither pipe nor socket, expected a pipe to vqa-loss' vqa-forward -t tiny <stream
	fails_with 2 'vqa-forward: options -k, -l and -a are for answers, not with -t' bash -c 'set -o pipefail; vqa-forward -t -l tiny <stream | cat'
	sed 's/triangle/hexagon/' questions.json >other.json
	vqa-tokenize other.json | vqa-featload features.lmdb >other
	(vqa-forward -t -b 4 tiny <other 2>said | vqa-loss | vqa-backward -g x) >out 2>rest && return 1
	[ "$(cat said)" = "vqa-forward: stdin: record 3 (question): question 0: answer 'hexagon' is not among the checkpoint's 13 answers" ]
	(vqa-forward -t -b 9 tiny <stream 2>said | vqa-loss | vqa-backward -g x) >out 2>rest && return 1
	[ "$(cat said)" = "vqa-forward: the stream has 8 questions, fewer than one batch of 9" ]
	[ ! -e x ]
}

@test "a full disk" {
	fails_with 1 'vqa-forward: stdout: cannot write: No space left on device' bash -c 'vqa-forward tiny <stream >/dev/full'
}

@test "records of unknown types pass" {
	vqa-dump <stream | sed '4i {"type":"remark","words":["as","it","is"],"deep":{"er":1.5}}' | vqa-dump -r >with
	vqa-forward tiny <with | vqa-dump >out
	[ "$(grep -v '"type":"answer"' out | sed -n '2p')" = '{"type":"remark","words":["as","it","is"],"deep":{"er":1.5}}' ]
	[ "$(grep -v remark out | tail -n +2)" = "$(vqa-forward tiny <stream | vqa-dump | tail -n +2)" ]
}

@test "token ids as an array of integers" {
	/usr/bin/python3 "$ROOT/tests/edit.py" 'if r["type"] == "question": r["tokens"] = list(struct.unpack("<%di" % (len(r["tokens"]) // 4), r["tokens"]))' <stream >arrays
	[ "$(vqa-dump <arrays | jq -c 'select(.id == 0 and .type == "question").tokens | type')" = '"array"' ]
	cmp <(vqa-forward -l tiny <arrays) <(vqa-forward -l tiny <stream)
}

@test "what an end record says beyond its count is kept" {
	/usr/bin/python3 "$ROOT/tests/edit.py" 'if r["type"] == "end": r["note"] = "last"' <stream >noted
	vqa-forward tiny <noted | vqa-dump | tail -n 1 | grep -qx '{"type":"end","questions":8,"note":"last"}'
}

@test "a batch that no record can hold" {
	jq -n '[range(3129) | "a\(.)"]' >many.json
	ckpt-init -L 1,1,1 -H 8 -n 2 -F 8 -f 24 -A many.json many
	(vqa-forward -t -b 4096 many < <(synthetic --answers 3129 --names) 2>said | cat) >out && :
	[ "$(cat said)" = 'vqa-forward: a batch of 4096 questions with 3129 answers is more than a record holds, expected at most 2639 questions' ]
}
