#!/usr/bin/env bats
# The reference's own figures through the real programs: a stream in, the tape, the gradients, the weights after 11 steps.
load helper

golden() {
	/usr/bin/python3 "$ROOT/tests/golden.py" "$@"
}

# setting NAME: what the case was computed with
setting() {
	jq -r ".$1" "$case/case.json"
}

for_case() {
	set -o pipefail
	case=$GOLDEN/$1
	ckpt-import -n "$(setting heads)" "$case/weights.safetensors" start.safetensors
	forward=(vqa-forward -D "${VQA_TEST_DEVICE:-cpu}" -b "$(setting batch)" -p "${PRECISION:-f32}" --compat)
	[ "$(setting 'layerdrop_draws_in_call_order | length')" = 0 ] || {
		setting layerdrop_draws_in_call_order >draws.json
		forward+=(--draws draws.json)
	}
}

answers() {
	for_case "$1"
	golden stream "$case" 1 | "${forward[@]}" -l start >answers
	golden logits "$case" 1 answers
}

gradients() {
	for_case "$1"
	golden stream "$case" 1 | "${forward[@]}" -t --dropout 0 start | vqa-loss | vqa-backward -g gradients >batches
	golden logits "$case" 1 batches
	golden gradients "$case" gradients
}

# steps NAME COUNT
steps() {
	local schedule
	for_case "$1"
	schedule=(--lr "$(setting lr)" --schedule constant)
	[ "$(setting cycle)" = null ] ||
		schedule=(--lr "$(setting cycle.base)" --max-lr "$(setting cycle.max)" --step-size "$(setting cycle.step_size_up)")
	golden stream "$case" "$2" | "${forward[@]}" -t --dropout 0 start | vqa-loss | vqa-backward |
		vqa-step -o "run.$2" "${schedule[@]}" >log.tsv
	cmp log.tsv "run.$2/log.tsv"
	golden params "$case" "$2" "run.$2/LAST.safetensors" start.safetensors
	[ "$2" = 1 ] || golden log "$case" log.tsv
}

@test "softmax: logits, loss, gradients" {
	answers softmax
	gradients softmax
}

@test "softmax: weights after one step; losses, norms, rates and weights of 11" {
	steps softmax 1
	steps softmax 11
}

@test "sparse: logits, loss, gradients" {
	answers sparse
	gradients sparse
}

@test "sparse: weights after one step; losses, norms, rates and weights of 11" {
	steps sparse 1
	steps sparse 11
}

@test "adaptive: logits, loss, gradients" {
	answers adaptive
	gradients adaptive
}

@test "adaptive: weights after one step; losses, norms, rates and weights of 11" {
	steps adaptive 1
	steps adaptive 11
}

@test "adaptive-short-batch: logits, loss, gradients" {
	answers adaptive-short-batch
	gradients adaptive-short-batch
}

@test "adaptive-short-batch: weights after one step; losses, norms, rates and weights of 11" {
	steps adaptive-short-batch 1
	steps adaptive-short-batch 11
}

@test "adaptive-sparse: logits, loss, gradients" {
	answers adaptive-sparse
	gradients adaptive-sparse
}

@test "adaptive-sparse: weights after one step; losses, norms, rates and weights of 11" {
	steps adaptive-sparse 1
	steps adaptive-sparse 11
}

@test "layerdrop: logits, loss, gradients" {
	answers layerdrop
	gradients layerdrop
}

@test "layerdrop: weights after one step; losses, norms, rates and weights of 11" {
	steps layerdrop 1
	steps layerdrop 11
}

@test "schedule: logits, loss, gradients" {
	answers schedule
	gradients schedule
}

@test "schedule: weights after one step; losses, norms, rates and weights of 11" {
	steps schedule 1
	steps schedule 11
}

@test "products in bf16: logits, loss, gradients" {
	grep -qw avx512bw /proc/cpuinfo || skip 'this processor has no products in bf16'
	export PRECISION=bf16
	for name in softmax sparse adaptive adaptive-sparse; do
		answers $name
		gradients $name
	done
}

@test "products in tf32: logits, loss, gradients" {
	[ "${VQA_TEST_DEVICE:-cpu}" != cpu ] || skip 'products in tf32 are for GPUs'
	export PRECISION=tf32
	for name in softmax sparse adaptive adaptive-sparse; do
		answers $name
		gradients $name
	done
}

# rows of spans, precision. One, two or three threads: the same bytes, of answers, gradients and weights. 128 wide and at batch 8, so that the
# loops are divided; spans with a row a place, and with rows that are averaged.
threads_do_not_matter() {
	[ -z "${VQA_TEST_DEVICE:-}" ] || skip "threads are the processor's"
	[ -z "${VQA_SANITIZED:-}" ] || skip "trainings run in the release build"
	set -o pipefail
	jq -n '[range(13) | "a\(.)"]' >answers.json
	ckpt-init -L 2,2,2 -H 128 -n 4 -F 512 -f 24 -s -a -d 1 --span-rows "$1" -r 1 -A answers.json start.safetensors
	/usr/bin/python3 "$ROOT/tests/synthetic.py" --names --answers 13 --questions 24 >stream
	for threads in 1 2 3; do
		export OMP_NUM_THREADS=$threads
		vqa-forward -p "$2" -l -a all -b 8 start <stream >answers.$threads
		vqa-forward -p "$2" -t -b 8 -r 3 start <stream | vqa-loss | vqa-backward -g gradients.$threads >batches
		vqa-forward -p "$2" -t -b 8 -r 3 start <stream | vqa-loss | vqa-backward |
			vqa-step -o run.$threads --lr 0.01 --schedule constant >table
		[ "$threads" = 1 ] && continue
		cmp answers.1 answers.$threads
		cmp gradients.1 gradients.$threads
		cmp run.1/LAST.safetensors run.$threads/LAST.safetensors
		cmp run.1/LAST.optimizer run.$threads/LAST.optimizer
		cmp run.1/log.tsv run.$threads/log.tsv
	done
}

@test "the number of threads does not matter" {
	threads_do_not_matter 8 f32
}

@test "the number of threads does not matter, with rows of spans that are averaged" {
	threads_do_not_matter 3 f32
}

@test "the number of threads does not matter, in bf16" {
	grep -qw avx512bw /proc/cpuinfo || skip 'this processor has no products in bf16'
	threads_do_not_matter 8 bf16
}
