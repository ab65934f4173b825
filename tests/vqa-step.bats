#!/usr/bin/env bats
# Schedules, clip, Lookahead, log.tsv, and steps that are refused; that the arithmetic is the reference's is golden.bats'.
load helper

setup_file() {
	cd "$BATS_FILE_TMPDIR"
	jq -n '[range(13) | "a\(.)"]' >answers.json
	ckpt-init -L 1,1,1 -H 32 -n 4 -F 64 -f 24 -s -r 1 -A answers.json start.safetensors
	/usr/bin/python3 "$ROOT/tests/synthetic.py" --names --answers 13 --questions 24 >stream
	[ -n "$VQA_SANITIZED" ] || vqa-forward -t -b 4 -r 3 --dropout 0 start.safetensors <stream | vqa-loss | vqa-backward |
		vqa-step -o run --lr 0.01 --schedule constant >table
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	cp "$BATS_FILE_TMPDIR"/{start.safetensors,stream} .
}

edit() {
	/usr/bin/python3 "$ROOT/tests/edit.py" "$1"
}

# train CHECKPOINT OPTION…: one pass (24/batch steps); edit.py's $before changes what vqa-loss reads, $after what vqa-step does.
# Exit statuses in forward and step, words in said.forward and said.step, the table in table.
train() {
	local checkpoint=$1 status
	shift
	if vqa-forward -t -D "${VQA_TEST_DEVICE:-cpu}" -b "${batch:-4}" -p "${precision:-f32}" -r 3 --dropout 0 "$checkpoint" <"${stream:-stream}" 2>said.forward | edit "${before:-}" | vqa-loss 2>said.loss |
		vqa-backward 2>said.backward | edit "${after:-}" | timeout 60 vqa-step "$@" 2>said.step >table; then
		status=("${PIPESTATUS[@]}")
	else
		status=("${PIPESTATUS[@]}")
	fi
	forward=${status[0]}
	step=${status[5]}
}

# trained …: and all went well
trained() {
	[ -z "$VQA_SANITIZED" ] || skip "trainings run in the release build"
	train "$@"
	[ "$forward $step" = '0 0' ]
	[ ! -s said.step ]
}

# refused MESSAGE …: vqa-step says so, and takes the others with it; $steps rows came before.
refused() {
	[ -z "$VQA_SANITIZED" ] || skip "trainings run in the release build"
	local message=$1
	shift
	train "$@"
	[ "$(cat said.step)" = "vqa-step: $message" ]
	[ "$forward $step" = '1 1' ]
	[ -s said.forward ]
	[ "$(wc -l <table)" = $((${steps:-0} + 1)) ]
	[ -z "$(find . -name '*.next' -o -name '*.new.*')" ]
}

# A run of six steps in run/, its table, and copies of what it left.
first_run() {
	[ -z "$VQA_SANITIZED" ] || skip "trainings run in the release build"
	cp -r "$BATS_FILE_TMPDIR"/{run,table} .
	cp -r run kept
}

untouched() {
	cmp run/LAST.safetensors kept/LAST.safetensors
	cmp run/LAST.optimizer kept/LAST.optimizer
}

@test "manners" {
	manners vqa-step
	fails_with 2 "vqa-step: too many operands: 'x' was not expected; see vqa-step --help" vqa-step x
}

@test "wrong usage is told before the stream is read" {
	local value
	for value in 5 5, ,0.5 0,0.5 5,1.5 5,-1 a,b 5,0.5,1 '' on 0000000000000000000000000001,0.5; do
		fails_with 2 "vqa-step: option --lookahead: '$value' is neither off nor STEPS,ALPHA" vqa-step --lookahead "$value" </dev/null
	done
	fails_with 2 "vqa-step: option --total: '0' is not over --step-size, 2000, as a linear schedule needs" vqa-step --schedule linear </dev/null
	fails_with 2 "vqa-step: option --total: '7' is not over --step-size, 7, as a linear schedule needs" \
		vqa-step --schedule linear --step-size 7 --total 7 </dev/null
	fails_with 2 "vqa-step: option --schedule: 'cosine' is not one of cyclic|constant|linear" vqa-step --schedule cosine </dev/null
	fails_with 2 "vqa-step: option --lr: 'nan' is not a number from 0 to 1e+06" vqa-step --lr nan </dev/null
	fails_with 2 "vqa-step: option --clip: '-1' is not a number from 0 to 1e+30" vqa-step --clip -1 </dev/null
}

@test "streams that are not a training run's" {
	fails_with 1 "vqa-step: stdin: record 1 (header): 'socket' is missing: expected the stream of vqa-forward -t" vqa-step -o run <stream
	[ ! -e run ]
	fails_with 1 "vqa-step: stdin: stream truncated: it is empty, expected a header" vqa-step -o run </dev/null
	[ ! -e run ]
}

# rates FORMULA OPTION…: the rate column is FORMULA (Python) of done, the steps before.
rates() {
	local formula=$1
	shift
	batch=2 trained start.safetensors --lr 0.001 --max-lr 0.009 "$@"
	python "
rows = [l.rstrip('\n').split('\t') for l in open('table')]
assert rows[0] == ['step', 'bce', 'span', 'total', 'norm', 'rate', 'accuracy', 'questions'], rows[0]
assert [int(r[0]) for r in rows[1:]] == list(range(1, 13))
assert all(r[7] == '2' for r in rows[1:])
lr, most = 0.001, 0.009
for done, r in enumerate(rows[1:]):
    want = $formula
    assert abs(float(r[5]) - want) <= 1e-8 * want, (done, r[5], want)
assert len({r[5] for r in rows[1:]}) == ${distinct:-1}
"
}

@test "the rate: constant" {
	rates lr --schedule constant
}

@test "the rate: cyclic" {
	distinct=4 rates 'lr + (most - lr) * (1 - abs((done % 6) / 3 - 1))' --step-size 3
}

@test "the rate: linear" {
	distinct=8 rates 'most * (done + 1) / 3 if done < 3 else lr if done >= 8 else most + (lr - most) * (done - 3) / 5' \
		--schedule linear --step-size 3 --total 8
}

# m after one step is 0.1 of the gradient that the optimizer saw.
@test "clip bounds the norm that the optimizer sees, 0 is off" {
	local clip
	local stream=short
	edit 'if r["type"] == "question" and r["id"] >= 4: r = None' <stream >short
	for clip in 0.001 0 1e30; do
		rm -rf run
		trained start.safetensors -o run --optimizer adamw --lr 0.001 --schedule constant --clip $clip
		python "
rows = [l.split('\t') for l in open('table')]
norm, clip = float(rows[1][4]), $clip
seen = math.sqrt(math.fsum(x * x for k, v in numbers('run/LAST.optimizer').items() if k.startswith('m.') for x in v)) / 0.1
want = clip * norm / (norm + 1e-6) if 0 < clip < norm else norm
assert norm > 0.01 and abs(seen - want) < 1e-5 * want, (norm, seen, want)
"
	done
}

# The first sync remembers the weights, the second meets them half way.
@test "Lookahead, and off" {
	local name
	edit 'if r["type"] == "question" and r["id"] >= 8: r = None' <stream >two
	edit 'if r["type"] == "question" and r["id"] >= 16: r = None' <stream >four
	stream=two trained start.safetensors -o off2 --lr 0.01 --schedule constant --lookahead off
	stream=two trained start.safetensors -o on2 --lr 0.01 --schedule constant --lookahead 2,0.25
	stream=four trained start.safetensors -o off4 --lr 0.01 --schedule constant --lookahead off
	stream=four trained start.safetensors -o on4 --lr 0.01 --schedule constant --lookahead 2,0.25
	python "
off2, on2, off4, on4 = (numbers(n + '/LAST.safetensors') for n in ('off2', 'on2', 'off4', 'on4'))
assert off2 == on2 and off4 != on4
for k in off2:
    if not k.endswith(('.alpha', 'word_embeddings.weight')):
        for a, b, c in zip(off2[k], off4[k], on4[k]):
            assert abs(c - (0.75 * a + 0.25 * b)) <= 1e-6 * (abs(a) + abs(b)), k
has = lambda n: any(k.startswith('slow.') for k in numbers(n + '/LAST.optimizer'))
assert has('on2') and has('on4') and not has('off2') and not has('off4')
"
}

# A start rounds the weights anew: what a step leaves of them in bf16 must be the same, also on Lookahead's steps.
@test "in bf16, a start a step is one run" {
	local optimizer start piece
	[ "${VQA_TEST_DEVICE:-cpu}" != cpu ] || grep -qw avx512bw /proc/cpuinfo || skip 'this processor has no products in bf16'
	for piece in 0 4 8 12 16 20; do
		edit "if r['type'] == 'question' and not $piece <= r['id'] < $piece + 4: r = None" <stream >piece.$piece
	done
	for optimizer in lamb adamw; do
		precision=bf16 trained start.safetensors -o "$optimizer.whole" --optimizer $optimizer --lr 0.01 --schedule constant --lookahead 2,0.5
		start=start.safetensors
		for piece in 0 4 8 12 16 20; do
			precision=bf16 stream=piece.$piece trained $start -o $optimizer --optimizer $optimizer --lr 0.01 --schedule constant --lookahead 2,0.5
			start=$optimizer
		done
		cmp $optimizer/log.tsv $optimizer.whole/log.tsv
		python "assert numbers('$optimizer/LAST.safetensors') == numbers('$optimizer.whole/LAST.safetensors')"
	done
}

@test "log.tsv is the table, and is cut back to the snapshot when a run goes on" {
	first_run
	cmp table run/log.tsv
	printf '7\t0\t0\t0\t0\t0\t0\t4\n8\t0\t0\t0\t0\t0\t0\t4\n9\t0.1' >>run/log.tsv
	trained run -o run --lr 0.01 --schedule constant
	[ "$(cut -f 1 run/log.tsv | paste -sd ' ')" = 'step 1 2 3 4 5 6 7 8 9 10 11 12' ]
	[ "$(cut -f 1 table | paste -sd ' ')" = 'step 7 8 9 10 11 12' ]
	head -n 7 run/log.tsv | cmp - kept/log.tsv
	tail -n 6 run/log.tsv | cmp - <(tail -n 6 table)
	# What is no whole row is cut off, though its number may be a small one.
	printf '1' >>run/log.tsv
	trained run -o run --lr 0.01 --schedule constant
	[ "$(cut -f 1 run/log.tsv | paste -sd ' ')" = "step $(seq -s ' ' 18)" ]
	# A log that is gone begins anew.
	rm run/log.tsv
	trained run -o run --lr 0.01 --schedule constant
	cmp run/log.tsv table
}

@test "log.tsv keeps its rows when the run that would go on is not let in" {
	first_run
	printf '7\t0\t0\t0\t0\t0\t0\t4\n' >>run/log.tsv
	cp run/log.tsv kept/
	after='if n == 1: r["key"] = "0" * 32' steps=-1 refused "vqa-forward refused: the header's key is not its own, another program commits the steps already, or it has ended" \
		run -o run --lr 0.01 --schedule constant
	cmp run/log.tsv kept/log.tsv
	untouched
}

@test "a loss that is no number: the step is refused, the snapshot stays" {
	local nan='if r.get("step") == 8: r["logits"] = floats(52 * [float("nan")])'
	first_run
	before=$nan steps=1 refused "step 8: the loss is nan; the step is not taken, and the snapshot of step 6 stays in 'run'" \
		run -o run --lr 0.01 --schedule constant
	untouched
	[ "$(tail -n 1 run/log.tsv | cut -f 1)" = 7 ]
	# The run goes on from there.
	trained run -o run --lr 0.01 --schedule constant
	[ "$(cut -f 1 run/log.tsv | tail -n 1)" = 12 ]
}

@test "a loss that is infinite; without a folder, and before the first snapshot" {
	local loss='if r.get("step") == 2: r["total"] = float("inf")'
	after=$loss steps=1 refused "step 2: the loss is inf; the step is not taken" start.safetensors
	after=$loss steps=1 refused "step 2: the loss is inf; the step is not taken" start.safetensors -o run
	[ "$(ls run)" = log.tsv ]
	after=$loss steps=1 refused "step 2: the loss is inf; the step is not taken, and the snapshot of step 1 stays in 'other'" \
		start.safetensors -o other --save-every 1
	[ "$(ckpt-info --json other | jq .run.step)" = 1 ]
}

@test "a gradient that is no number: the tensor is named" {
	local nan
	first_run
	nan='if r.get("step") == 7: g = unfloat(r["gradient"]); g[3] = float("nan"); r["gradient"] = floats(g)'
	[ -z "$VQA_SANITIZED" ] || skip "trainings run in the release build"
	if vqa-forward -t -b 4 -r 3 --dropout 0 run <stream 2>said.forward | vqa-loss 2>said.loss | edit "$nan" | vqa-backward 2>said.backward |
		vqa-step -o run --lr 0.01 --schedule constant 2>said.step >table; then
		return 1
	fi
	[ "$(cat said.step)" = "vqa-step: step 7: the gradient's norm of tensor 'logit_fc.0.bias' is nan; the step is not taken, and the snapshot of step 6 stays in 'run'" ]
	[ "$(wc -l <table)" = 1 ]
	untouched
}

@test "weights that no float32 product holds" {
	python "
data = bytearray(open('start.safetensors', 'rb').read())
n = struct.unpack('<Q', data[:8])[0]
at = 8 + n + json.loads(data[8:8 + n])['logit_fc.3.weight']['data_offsets'][0]
data[at:at + 4 * 13 * 64] = struct.pack('<832f', *(832 * [3e38]))
open('huge.safetensors', 'wb').write(data)
"
	[ -z "$VQA_SANITIZED" ] || skip "trainings run in the release build"
	train huge.safetensors -o run --save-every 1
	[ "$forward $step" = '1 1' ]
	grep -Eqx "vqa-step: step 1: the loss is (nan|inf); the step is not taken" said.step
	[ "$(ls run)" = log.tsv ]
}

@test "records that are out of order, lack something, or end too early" {
	first_run
	after='if r.get("step") == 7: r["step"] = 8' refused "stdin: record 2 (batch): step 8, expected 7" run -o run
	after='if r.get("step") == 7: del r["bce"]' refused "stdin: record 2 (batch): 'bce' is missing, expected a number" run -o run
	after='if r.get("step") == 7: r["total"] = "low"' refused "stdin: record 2 (batch): 'total' has another type, expected a number" run -o run
	after='if r.get("step") == 7: r["questions"] = []' refused "stdin: record 2 (batch): 'questions' is missing or no array of 1 to 4096 ids" run -o run
	untouched
	# What follows the end record: the final snapshot is not taken.
	after='if r["type"] == "end": raw(msgpack.packb(r) + b"x"); r = None' steps=6 refused "stdin: record 9 follows the end record" run -o run
	untouched
	# It may hear of vqa-forward's end first; it says one thing.
	after='if r["type"] == "end": sys.exit()' train run -o run
	[ "$forward $step" = '1 1' ]
	grep -Eqx 'vqa-step: (stdin: stream truncated after record 7, expected an end record|vqa-forward ended without a goodbye)' said.step
	[ "$(wc -l <said.step)" = 1 ]
	untouched
}

@test "folders that are none" {
	echo x >file
	steps=-1 refused "none/run: cannot make the folder: No such file or directory" start.safetensors -o none/run
	steps=-1 refused "file: cannot open the folder: Not a directory" start.safetensors -o file
	[ "$(cat file)" = x ]
}

@test "a full disk" {
	[ -z "$VQA_SANITIZED" ] || skip "trainings run in the release build"
	first_run
	vqa-forward -t -b 4 -r 3 --dropout 0 run <stream 2>said.forward | vqa-loss 2>said.loss | vqa-backward 2>said.backward |
		vqa-step -o run 2>said.step >/dev/full && return 1
	[ "$(cat said.step)" = "vqa-step: stdout: cannot write: No space left on device" ]
	untouched
	# Here log.tsv is what has no room, at about the 13th row.
	rm -r run
	train_limited() {
		vqa-forward -t -b 1 -r 3 --dropout 0 start.safetensors <stream 2>said.forward | vqa-loss 2>said.loss | vqa-backward 2>said.backward |
			(trap '' XFSZ && ulimit -f 1 && exec vqa-step -o run 2>said.step) | cat >table
	}
	train_limited
	[ "$(cat said.step)" = "vqa-step: run/log.tsv: cannot write: File too large" ]
	[ "$(ls run)" = log.tsv ]
}
