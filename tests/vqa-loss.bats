#!/usr/bin/env bats
# BCE and its gradient, against the definition in Python.
load helper

# batches 'PYTHON': a stream of 3 answers; PYTHON has batch(questions, logits, target, **fields), end() and put() to say what
# lies between its header and its end.
batches() {
	/usr/bin/python3 - "$1" "${2:-3}" <<-'END'
		import msgpack, struct, sys
		put = lambda r: sys.stdout.buffer.write(msgpack.packb(r))
		floats = lambda x: struct.pack("<%df" % len(x), *x)
		def batch(questions=2, logits=6 * [0.0], target=(), **more):
		    put({"type": "batch", "step": 1, "questions": list(range(questions)), "logits": floats(logits), "target": list(target), **more})
		put({"type": "header", "vqa": 1, "by": "test", "answers": eval(sys.argv[2])})
		exec(sys.argv[1])
		put({"type": "end", "questions": 2})
	END
}

# refused MESSAGE 'PYTHON' [ANSWERS]: what batches makes of it is refused after the records before it, and no end comes out.
refused() {
	batches "${@:2}" >in
	fails_with 1 "vqa-loss: stdin: $1" bash -c 'vqa-loss <in | cat; exit ${PIPESTATUS[0]}'
	if vqa-dump <fails_with.out >/dev/null 2>&1; then
		return 1
	fi
}

@test "manners" {
	manners vqa-loss
	fails_with 2 "vqa-loss: too many operands: 'x' was not expected; see vqa-loss --help" vqa-loss x
}

# sum over answers, mean over questions; where exp() overflows, too.
@test "loss, gradient and right answers are the definition's" {
	cat >cases.py <<-'END'
		import random
		draw = random.Random(1)
		CASES = [
		    (2, [0.0, 1.0, -1.0, 2.5, -2.5, 0.25], [[0, 1, 1.0], [1, 0, 0.3], [1, 2, 1.0]]),
		    (2, [1e4, -1e4, 88.8, -88.8, 745.2, -745.2], [[0, 0, 1.0], [0, 1, 1.0], [1, 1, 0.5]]),
		    (1, [3e38, -3e38, 1e-40], [[0, 0, 1.0]]),
		    (1, [3e38, -3e38, 1e-40], []),
		    (1, [20.0, 20.0, 17.0], [[0, 0, 0.6], [0, 1, 1.0]]),
		    (1, [1.0, 2.0, 0.0], [[0, 1, 0.25], [0, 1, 1]]),
		    (40, [draw.gauss(0, 30) for _ in range(120)], [[draw.randrange(40), draw.randrange(3), draw.random()] for _ in range(60)]),
		]
	END
	batches "
sys.path.insert(0, '.')
from cases import CASES
for c in CASES: batch(*c)" >in
	vqa-loss <in | cat >out
	/usr/bin/python3 - <<-'END'
		import math, msgpack, struct, sys
		sys.path.insert(0, '.')
		from cases import CASES
		single = lambda x: struct.unpack('<f', struct.pack('<f', x))[0]
		records = [r for r in msgpack.Unpacker(open('out', 'rb'), raw=False) if r['type'] == 'batch']
		assert len(records) == len(CASES)
		for k, (r, (B, logits, targets)) in enumerate(zip(records, CASES)):
		    x = [single(v) for v in logits]
		    t = [0.0] * len(x)
		    for row, answer, score in targets:
		        t[3 * row + answer] = single(score)
		    # log(1 + exp(x)) - x t, and its derivative
		    softplus = lambda v: v + math.log1p(math.exp(-v)) if v > 0 else math.log1p(math.exp(v))
		    sigmoid = lambda v: 1 / (1 + math.exp(-v)) if v > -700 else 0.0
		    bce = math.fsum(softplus(v) - v * s for v, s in zip(x, t)) / B
		    assert abs(r['bce'] - bce) <= 1e-12 * max(abs(v) for v in x + [1]), (k, r['bce'], bce)
		    assert r['total'] == r['bce'] and r['span'] == 0, k
		    gradient = struct.unpack('<%df' % len(x), r['gradient'])
		    for i, (g, v, s) in enumerate(zip(gradient, x, t)):
		        want = (sigmoid(v) - s) / B
		        assert abs(g - want) <= 1e-7 * abs(want) + 1e-37, (k, i, g, want)
		    right = sum(t[3 * b + max(range(3), key=lambda a: x[3 * b + a])] for b in range(B))
		    assert abs(r['right'] - right) < 1e-12, (k, r['right'], right)
	END
}

@test "a logit that is no number makes the loss none, for vqa-step to refuse" {
	batches 'batch(2, [0, 1, float("nan"), 0, 1, 2]); batch(1, [float("inf"), 0, 0])' | vqa-loss | cat >out
	vqa-dump <out | records batch '.total.f64 | test("nan|inf")'
	vqa-dump <out | jq -c 'select(.type == "batch" and .gradient.f32[2] == "nan") | .questions' >nan
	[ "$(cat nan)" = '[0,1]' ]
}

@test "what is not a batch, and what a batch has besides, passes; what is computed is replaced" {
	batches 'put({"type": "note", "a": [1]}); batch(other={"b": 2}, bce="old", gradient=b"old", right=None)' | vqa-loss | vqa-dump >out
	[ "$(jq -c 'select(.type == "note")' out)" = '{"type":"note","a":[1]}' ]
	records batch '.other.b == 2 and (.gradient.f32 | length) == 6 and (.bce - 3 * (2 | log) | fabs) < 1e-12 and .questions == [0, 1]' <out
	records end '.questions == 2' <out
	[ "$(grep -o '"bce":' out | wc -l)" = 1 ]
}

@test "headers that are not vqa-forward -t's" {
	refused "record 1 (header): 'answers' has another type, expected an integer" '' '"3"'
	refused "record 1 (header): 'answers' is 0, expected 1 to 65536" '' 0
	refused "record 1 (header): 'answers' is 65537, expected 1 to 65536" '' 65537
	prepare
	vqa-tokenize questions.json >questions
	fails_with 1 "vqa-loss: stdin: record 1 (header): 'answers' is missing, expected an integer" vqa-loss <questions
	[ ! -s fails_with.out ]
}

@test "sizes and types that do not fit" {
	refused "record 2 (batch): 'logits' has 5 values, expected 2 questions times 3 answers" 'batch(2, 5 * [0.0])'
	refused "record 2 (batch): 'logits' has 6 values, expected 2 questions times 4 answers" 'batch()' 4
	refused "record 3 (batch): 'logits' has 6 values, expected 3 questions times 3 answers" 'batch(); batch(3)'
	refused "record 2 (batch): 'logits' has 3 bytes, expected a multiple of 4" 'put({"type": "batch", "step": 1, "questions": [1], "logits": b"123", "target": []})'
	refused "record 2 (batch): 'logits' has another type, expected float32 values (bin)" 'put({"type": "batch", "step": 1, "questions": [1], "logits": [1.0], "target": []})'
	refused "record 2 (batch): 'logits' is missing, expected float32 values (bin)" 'put({"type": "batch", "step": 1, "questions": [1], "target": []})'
	refused "record 2 (batch): 'questions' is missing or no array of 1 to 4096 ids" 'put({"type": "batch", "step": 1})'
	refused "record 2 (batch): 'questions' is missing or no array of 1 to 4096 ids" 'batch(0, [])'
	refused "record 2 (batch): 'questions' is missing or no array of 1 to 4096 ids" 'batch(4097, 3 * 4097 * [0.0])'
	refused "record 2 (batch): 'step' is missing, expected an integer" 'put({"type": "batch", "questions": [1]})'
	refused "record 2 (batch): 'step' is 0, expected 1 to 4294967295" 'put({"type": "batch", "questions": [1], "step": 0})'
	refused "record 2 (end): 'questions' is missing, expected an integer" 'put({"type": "end"}); sys.exit()'
	refused "record 2 (end): 'questions' is -1, expected 0 to 9223372036854775807" 'put({"type": "end", "questions": -1}); sys.exit()'
}

@test "targets that are none" {
	local t
	refused "record 2 (batch): 'target' is missing or no array" 'put({"type": "batch", "step": 1, "questions": [1], "logits": floats([0, 0, 0])})'
	refused "record 2 (batch): 'target' is missing or no array" 'put({"type": "batch", "step": 1, "questions": [1], "logits": floats([0, 0, 0]), "target": {}})'
	for t in '[2, 0, 1.0]' '[-1, 0, 1.0]' '[0, 3, 1.0]' '[0, -1, 1.0]' '[0.5, 0, 1.0]' '[0, 1.0, 1.0]' '[0, 0, 1.5]' '[0, 0, -0.5]' \
		'[0, 0, float("nan")]' '[0, 0, "1"]' '[0, 0]' '[0, 0, 1.0, 1]' '[]' '0' '{}' '[2**64 - 1, 0, 1.0]' '[0, 2**32, 1.0]'; do
		refused "record 2 (batch): 'target' 1 is no [row below 2, answer below 3, score 0 to 1]" "batch(target=[[1, 2, 1], $t])"
	done
}

@test "a reader that leaves" {
	batches 'for _ in range(1000): batch(400, 1200 * [0.0])' >in
	vqa-loss <in 2>said | head -c 1 >/dev/null
	status=("${PIPESTATUS[@]}")
	[ "${status[0]}" = 1 ]
	grep -Eqx 'vqa-loss: stdout: (the program that reads it has ended|cannot write: Broken pipe)' said
}

@test "a full disk" {
	batches 'batch()' >in
	fails_with 1 'vqa-loss: stdout: cannot write: No space left on device' bash -c 'vqa-loss <in >/dev/full'
}
