#!/usr/bin/env bats
# The reference's own figures through the real programs: a stream in, the tape, the gradients, the weights after 11 steps.
load helper

golden() {
	/usr/bin/python3 "$ROOT/tests/golden.py" "$@"
}

for_case() {
	set -o pipefail
	case=$GOLDEN/$1
	ckpt-import -n 4 "$case/weights.safetensors" start.safetensors
}

answers() {
	for_case "$1"
	golden stream "$case" 1 | vqa-forward -l start >answers
	golden logits "$case" 1 answers
}

gradients() {
	for_case "$1"
	golden stream "$case" 1 | vqa-forward -t -b 3 --dropout 0 start | vqa-loss | vqa-backward -g gradients >batches
	golden logits "$case" 1 batches
	golden gradients "$case" gradients
}

# The reference lets alphas go where they want, which --compat keeps.
steps() {
	for_case "$1"
	golden stream "$case" "$2" | vqa-forward -t -b 3 --dropout 0 --compat start | vqa-loss | vqa-backward |
		vqa-step -o run --lr 0.01 --schedule constant >log.tsv
	cmp log.tsv run/log.tsv
	golden params "$case" "$2" run/LAST.safetensors start.safetensors
}

@test "softmax: logits" {
	answers softmax
}

@test "sparse: logits" {
	answers sparse
}

@test "softmax: logits, loss and gradients while training" {
	gradients softmax
}

@test "sparse: logits, loss and gradients while training" {
	gradients sparse
}

@test "softmax: weights after one step" {
	steps softmax 1
}

@test "sparse: weights after one step" {
	steps sparse 1
}

@test "softmax: losses, norms and weights of 11 steps" {
	steps softmax 11
	golden log "$case" log.tsv
}

@test "sparse: losses, norms and weights of 11 steps" {
	steps sparse 11
	golden log "$case" log.tsv
}

# One, two or three threads: the same bytes, of answers, gradients and weights. 128 wide and at batch 8, so that the loops are divided.
@test "the number of threads does not matter" {
	[ -z "${VQA_SANITIZED:-}" ] || skip "trainings run in the release build"
	set -o pipefail
	jq -n '[range(13) | "a\(.)"]' >answers.json
	ckpt-init -L 1,1,1 -H 128 -n 4 -F 512 -f 24 -s -r 1 -A answers.json start.safetensors
	/usr/bin/python3 "$ROOT/tests/synthetic.py" --names --answers 13 --questions 24 >stream
	for threads in 1 2 3; do
		export OMP_NUM_THREADS=$threads
		vqa-forward -l -a all -b 8 start <stream >answers.$threads
		vqa-forward -t -b 8 -r 3 start <stream | vqa-loss | vqa-backward -g gradients.$threads >batches
		vqa-forward -t -b 8 -r 3 start <stream | vqa-loss | vqa-backward |
			vqa-step -o run.$threads --lr 0.01 --schedule constant >table
		[ "$threads" = 1 ] && continue
		cmp answers.1 answers.$threads
		cmp gradients.1 gradients.$threads
		cmp run.1/LAST.safetensors run.$threads/LAST.safetensors
		cmp run.1/LAST.optimizer run.$threads/LAST.optimizer
		cmp run.1/log.tsv run.$threads/log.tsv
	done
}
