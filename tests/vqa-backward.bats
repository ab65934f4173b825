#!/usr/bin/env bats
# What vqa-backward takes and refuses; that its gradients are right is golden.bats'.
load helper

setup() {
	cd "$BATS_TEST_TMPDIR"
	prepare
}

edit() {
	/usr/bin/python3 "$ROOT/tests/edit.py" "$1"
}

questions() {
	vqa-tokenize "$@" questions.json | vqa-featload features.lmdb
}

# through 'CODE' COMMAND…: the stream of vqa-forward -t, changed by edit.py's CODE, through vqa-loss into COMMAND; all words in
# said.NAME, and the exit statuses of vqa-forward and COMMAND in forward and last.
through() {
	local code=$1
	shift
	local status
	if questions | vqa-forward -t -b 4 --dropout 0 tiny 2>said.forward | edit "$code" | vqa-loss 2>said.loss | "$@" >out 2>said; then
		status=("${PIPESTATUS[@]}")
	else
		status=("${PIPESTATUS[@]}")
	fi
	forward=${status[1]}
	last=${status[4]}
}

# refused MESSAGE 'CODE': so does vqa-backward -g, no gradients are written, and the others end, too.
refused() {
	[ -z "$VQA_SANITIZED" ] || skip "trainings run in the release build"
	through "$2" vqa-backward -g x
	[ "$last" = 1 ]
	[ "$(cat said)" = "vqa-backward: $1" ]
	[ ! -e x ]
	[ "$forward" = 1 ]
	grep -q '^vqa-forward: ' said.forward
	if vqa-dump <out >/dev/null 2>&1; then
		return 1
	fi
}

@test "manners" {
	manners vqa-backward
	fails_with 2 "vqa-backward: too many operands: 'x' was not expected; see vqa-backward --help" vqa-backward x
	fails_with 2 "vqa-backward: option -g: its argument is missing" vqa-backward -g
}

@test "-g: the gradients of the last batch, under the parameters' names" {
	[ -z "$VQA_SANITIZED" ] || skip "trainings run in the release build"
	echo old >all
	through '' vqa-backward -g all
	[ "$forward $last" = '0 0' ]
	[ ! -s said ]
	vqa-dump <out | records batch '(.gradient.f32 | length) == 52'
	vqa-dump <out | records end '.questions == 8'
	# Without dropout it is the gradient of that batch alone.
	questions --skip 4 | vqa-forward -t -b 4 --dropout 0 tiny | vqa-loss | vqa-backward -g last >out
	cmp all last
	questions --skip 3 | vqa-forward -t -b 4 --dropout 0 tiny 2>dropped | vqa-loss | vqa-backward -g other >out
	[ "$(cat dropped)" = "vqa-forward: the last 1 questions are no whole batch of 4 and were not used" ]
	run -1 cmp -s all other
	python "
weights, gradients = load('tiny.safetensors')[1], load('all')[1]
assert set(gradients) <= set(weights)
for name, (_, shape, data) in gradients.items():
    assert shape == weights[name][1], name
    assert all(map(math.isfinite, values(gradients[name]))), name
for name in ('logit_fc.3.weight', 'lxrt_encoder.model.bert.embeddings.word_embeddings.weight', 'lxrt_encoder.model.bert.encoder.visn_fc.visn_fc.weight'):
    assert any(gradients[name][2]), name
"
}

@test "-g: a file that cannot be written; what was there stays" {
	[ -z "$VQA_SANITIZED" ] || skip "trainings run in the release build"
	echo old >x
	full_disk() {
		trap '' XFSZ
		ulimit -f 100
		exec vqa-backward -g x
	}
	through '' full_disk
	[ "$forward $last" = '1 1' ]
	[ "$(cat said)" = "vqa-backward: x: cannot write: File too large" ]
	[ "$(cat x)" = old ]
	[ -z "$(find . -name 'x.*')" ]
	[ "$(cat said.forward)" = "vqa-forward: vqa-backward ended without a goodbye after step 2" ]
	through '' vqa-backward -g none/x
	[ "$(cat said)" = "vqa-backward: none/x: cannot create: No such file or directory" ]
	[ "$forward $last" = '1 1' ]
}

@test "-g commits: no vqa-step may follow" {
	[ -z "$VQA_SANITIZED" ] || skip "trainings run in the release build"
	step_behind() {
		vqa-backward -g x 2>said.backward | vqa-step -o run
	}
	through '' step_behind
	[ "$last" = 1 ]
	[ "$(cat said)" = "vqa-step: vqa-forward refused: the header's key is not its own, another program commits the steps already, or it has ended" ]
	[ ! -e run/LAST.safetensors ]
	[ ! -e run/log.tsv ]
}

@test "streams that are not vqa-forward -t's" {
	questions >stream
	fails_with 1 "vqa-backward: stdin: record 1 (header): 'socket' is missing: expected the stream of vqa-forward -t" vqa-backward <stream
	vqa-forward tiny <stream >answers
	fails_with 1 "vqa-backward: stdin: record 1 (header): 'socket' is missing: expected the stream of vqa-forward -t" vqa-backward <answers
	[ ! -s fails_with.out ]
}

# A header as vqa-forward -t writes it, of a run that is over.
@test "headers that lack something, or lead nowhere" {
	header() {
		/usr/bin/python3 - "$1" <<-'END' >stream
			import msgpack, sys
			h = {"type": "header", "vqa": 1, "by": "test", "socket": "vqa-0123456789abcdef0123456789abcdef", "key": "0" * 32,
			     "checkpoint": "/none", "snapshot": "", "answers": 13, "batch": 4, "seed": 0, "dropout": 0.1, "compat": 0, "step": 0,
			     "streams": 0, "first": 0, "taken": 0, "source": ""}
			exec(sys.argv[1])
			sys.stdout.buffer.write(msgpack.packb(h) + msgpack.packb({"type": "end", "questions": 0}))
		END
	}
	wrong() {
		header "$2"
		fails_with 1 "vqa-backward: $1" vqa-backward -g x <stream
		[ ! -s fails_with.out ]
		[ ! -e x ]
	}
	wrong "cannot reach the vqa-forward that the header names: is it running on this machine?: Connection refused" ''
	wrong "the header's socket or key is none of vqa-forward's" 'h["key"] = "0" * 31'
	wrong "the header's socket or key is none of vqa-forward's" 'h["key"] = ""'
	local key
	for key in key snapshot source; do
		wrong "stdin: record 1 (header): '$key' is missing: expected the stream of vqa-forward -t" "del h['$key']"
		wrong "stdin: record 1 (header): '$key' has another type, expected a string" "h['$key'] = 1"
	done
	for key in step streams first taken batch seed compat; do
		wrong "stdin: record 1 (header): '$key' is missing, expected an integer" "del h['$key']"
	done
	wrong "stdin: record 1 (header): 'dropout' is missing, expected a number" 'del h["dropout"]'
	wrong "stdin: record 1 (header): 'dropout' is 1, expected 0 to below 1" 'h["dropout"] = 1.0'
	wrong "stdin: record 1 (header): 'dropout' is nan, expected 0 to below 1" 'h["dropout"] = float("nan")'
	wrong "stdin: record 1 (header): 'batch' is 4097, expected 1 to 4096" 'h["batch"] = 4097'
	wrong "stdin: record 1 (header): 'seed' is -1, expected 0 to 9007199254740992" 'h["seed"] = -1'
	wrong "stdin: record 1 (header): 'socket' has 64 bytes, expected fewer than 64" 'h["socket"] = "x" * 64'
	wrong "stdin: record 1 (header): 'socket' is not UTF-8 text" 'h["socket"] = "x\0"'
}

@test "another key" {
	refused "vqa-forward refused: the header's key is not its own, another program commits the steps already, or it has ended" \
		'if n == 1: r["key"] = "0" * 32'
}

@test "a batch of another size" {
	refused "stdin: record 2 (batch): 3 questions, expected a batch of 4" \
		'if n == 2: r["questions"].pop(); r["logits"] = r["logits"][:-13 * 4]; r["target"].pop()'
}

@test "other answers than the checkpoint's" {
	refused "stdin: record 2 (batch): 'gradient' has 48 values, expected 4 questions times 13 answers" \
		'if n == 1: r["answers"] = 12
if n == 2: r["logits"] = r["logits"][:48 * 4]; r["target"] = []'
}

@test "without vqa-loss" {
	[ -z "$VQA_SANITIZED" ] || skip "trainings run in the release build"
	questions | vqa-forward -t -b 4 tiny 2>said.forward | vqa-backward -g x 2>said >out || true
	[ "$(cat said)" = "vqa-backward: stdin: record 2 (batch): 'gradient' is missing, expected float32 values (bin)" ]
	[ -s said.forward ]
	[ ! -e x ]
}

@test "a stream that is cut in a batch" {
	[ -z "$VQA_SANITIZED" ] || skip "trainings run in the release build"
	through 'if n == 3: sys.exit()' vqa-backward -g x
	[ "$forward $last" = '1 1' ]
	[ "$(cat said.loss)" = "vqa-loss: stdin: stream truncated after record 2, expected an end record" ]
	# It may hear of vqa-forward's end first; it says one thing.
	grep -Eqx 'vqa-backward: (stdin: stream truncated after record 2, expected an end record|vqa-forward ended without a goodbye)' said
	[ "$(wc -l <said)" = 1 ]
	[ ! -e x ]
}
