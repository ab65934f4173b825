#!/usr/bin/env bats
# The reference's own size, ckpt-init's defaults: 9-5-5 layers, 768 wide, 3129 answers, 36 x 2048 features.
load helper

# A second of CPU at this size is a long time, so that a sanitizer's build is no place for it.
setup_file() {
	[ -z "${VQA_SANITIZED:-}" ] || return 0
	cd "$BATS_FILE_TMPDIR"
	jq -n '[range(3129) | "a\(.)"]' >answers.json
	ckpt-init -s -A answers.json full.safetensors
	/usr/bin/python3 "$ROOT/tests/synthetic.py" --names --answers 3129 --features 2048 --questions 1000 >stream
}

setup() {
	[ -z "${VQA_SANITIZED:-}" ] || skip "the full size runs in the release build"
	cd "$BATS_FILE_TMPDIR"
}

# train STREAM: steps at batch 32
train() {
	rm -f pid.* status.* said.*
	member vqa-forward -t -b 32 full <"$1" | member vqa-loss | member vqa-backward | member vqa-step >log
}

# The memory of all four together in MB; pages that they share count once.
pss() {
	local total=0 kb pid
	for pid in $(cat pid.* 2>/dev/null); do
		kb=$(awk '/^Pss:/ { print $2 }' "/proc/$pid/smaps_rollup" 2>/dev/null) || kb=0
		total=$((total + ${kb:-0}))
	done
	echo $((total / 1024))
}

# cpu NAME: the seconds that a member has computed.
cpu() {
	awk '{ print int(($14 + $15) / 100) }' "/proc/$(cat "pid.$1")/stat"
}

# The first 64 questions of the stream as a whole one.
two_batches() {
	/usr/bin/python3 "$ROOT/tests/synthetic.py" --names --answers 3129 --features 2048 --questions 64 >two
}

@test "answers to 1,000 questions" {
	vqa-forward -b 32 full <stream | vqa-submit >answers
	[ "$(jq length answers)" = 1000 ]
	[ "$(jq 'map(.answer) | unique | length > 1' answers)" = true ]
}

@test "training at batch 32 takes at most 9 GB, all together" {
	two_batches
	train two 3>&- &
	running=$!
	most=0
	while kill -0 "$running" 2>/dev/null; do
		now=$(pss)
		[ "$now" -le "$most" ] || most=$now
		sleep 0.2
	done
	wait "$running"
	[ "$(wc -l <log)" = 3 ]
	awk -F '\t' 'NR > 1 && !($4 > 0 && $5 > 0) { exit 1 }' log
	echo "most: $most MB"
	[ "$most" -gt 4000 ] && [ "$most" -le 9000 ]
}

# ends NAME: when NAME is killed, the others end within 5 s with their own words.
ends() {
	kill -9 "$(cat "pid.$1")"
	SECONDS=0
	wait_for '[ "$(ls status.* 2>/dev/null | wc -l)" = 4 ]'
	[ "$SECONDS" -le 5 ]
	for name in vqa-forward vqa-loss vqa-backward vqa-step; do
		[ "$(cat "status.$name")" != 0 ]
		[ "$name" = "$1" ] || grep -q "^$name: " "said.$name"
	done
}

@test "vqa-step is killed in the middle of a forward" {
	two_batches
	train two 3>&- &
	wait_for '[ -e pid.vqa-step ] && [ -e pid.vqa-forward ] && [ "$(cpu vqa-forward)" -ge 3 ]'
	ends vqa-step
}

@test "vqa-forward is killed in the middle of a backward" {
	two_batches
	train two 3>&- &
	wait_for '[ -e pid.vqa-backward ] && [ "$(cpu vqa-backward)" -ge 2 ]'
	ends vqa-forward
}

@test "vqa-loss is killed in the middle of a forward" {
	two_batches
	train two 3>&- &
	wait_for '[ -e pid.vqa-loss ] && [ -e pid.vqa-forward ] && [ "$(cpu vqa-forward)" -ge 3 ]'
	ends vqa-loss
}

@test "vqa-backward is killed in the middle of a backward" {
	two_batches
	train two 3>&- &
	wait_for '[ -e pid.vqa-backward ] && [ "$(cpu vqa-backward)" -ge 2 ]'
	ends vqa-backward
}

# The limit is on what a process has for itself (RLIMIT_DATA): mapped files, which the kernel may take back, do not count.
@test "20,000 questions over a store of 440 MB, within 200 MB" {
	cd "$BATS_TEST_TMPDIR"
	"$ROOT/tests/obj36.py" --images 1500 --prefix COCO_val2014_ | vqa-featpack - store
	[ "$(stat -c %s store)" -gt 440000000 ]
	jq -n -c '[range(20000) | {question_id: ., img_id: "COCO_val2014_\((. * 7919) % 1500 | tostring | "0" * (12 - length) + .)", sent: "what is it?"}]' >list
	vqa-tokenize list >questions
	bash -c 'set -o pipefail; (ulimit -d 200000 && vqa-featload store <questions) | tail -c 2 | od -An -tx1' >end
	[ "$(cat end)" = ' 4e 20' ] # the end record's last field: 20,000 questions
	# The limit bites.
	fails_with 1 "vqa-featload: out of memory for an image's features: 294912 bytes" bash -c 'ulimit -d 500 && vqa-featload store <questions >/dev/null'
}
