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
