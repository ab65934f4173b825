#!/usr/bin/env bats
# Members of a training run that die, stop or lose their reader: the others end, the snapshot is whole, and the same
# pipeline goes on from there to the same bytes.
load helper

# One undisturbed run, to compare with, of a model with all that a run has to remember: alphas, a span's rows, layers left out.
setup_file() {
	[ -z "${VQA_SANITIZED:-}" ] || return 0
	cd "$BATS_FILE_TMPDIR"
	jq -n '[range(13) | "a\(.)"]' >answers.json
	ckpt-init -L 2,2,2 -H 32 -n 4 -F 64 -f 24 -s -a --span-rows 4 -d 1 -r 1 -A answers.json start.safetensors
	/usr/bin/python3 "$ROOT/tests/synthetic.py" --names --answers 13 --questions 800 >stream
	vqa-forward -t -b 4 -r 3 start.safetensors <stream | vqa-loss | vqa-backward |
		vqa-step -o whole --lr 0.01 --schedule constant --save-every 20 >log
}

setup() {
	[ -z "${VQA_SANITIZED:-}" ] || skip 'long trainings run only in the release build'
	cd "$BATS_TEST_TMPDIR"
	own_tmp
	cp -r "$BATS_FILE_TMPDIR"/{start.safetensors,stream,whole} .
	mv whole/LAST.safetensors whole.safetensors
	mv whole/LAST.optimizer whole.optimizer
}

# train CHECKPOINT FOLDER: one pass over the stream, slow enough (a batch of 4) to be disturbed; each member's words in said.NAME.
train() {
	source_stream <stream | member vqa-forward -t -b 4 -r 3 "$1" | ${between:-member} ${between_args:-vqa-loss} | member vqa-backward |
		member vqa-step -o "$2" --lr 0.01 --schedule constant --save-every 20 | ${behind:-cat} >log
}

source_stream() {
	exec -a questions cat
}

# After a death: all members gone within 5 s, each that was not killed with its own words and a status that is not 0.
all_ended() {
	local victim=$1 name
	SECONDS=0
	wait_for '[ -e status.vqa-forward ] && [ -e status.vqa-loss ] && [ -e status.vqa-backward ] && [ -e status.vqa-step ]'
	[ "$SECONDS" -le 5 ]
	for name in vqa-forward vqa-loss vqa-backward vqa-step; do
		[ "$name" = "$victim" ] && continue
		[ "$(cat "status.$name")" != 0 ] || { echo "$name ended with 0"; return 1; }
		grep -q "^$name: " "said.$name" || { echo "$name said nothing"; return 1; }
	done
}

goes_on() {
	rm -f pid.* status.* said.*
	vqa-dump <stream >/dev/null
	if [ -e run/LAST.safetensors ]; then
		ckpt-info run >/dev/null
		: >run/LAST.safetensors.new.1
		[ "$(ckpt-info --json run | jq .run.streams)" = 1 ] && rm run/LAST.safetensors.new.1 || (train run run)
	else
		(train start.safetensors run)
	fi
	cmp run/LAST.safetensors whole.safetensors
	cmp run/LAST.optimizer whole.optimizer
	cmp run/log.tsv whole/log.tsv
	[ -z "$(find run -name '*.next' -o -name '*.new.*')" ]
}

kills() {
	(train start.safetensors run) 3>&- &
	wait_for '[ -e run/log.tsv ] && [ "$(wc -l <run/log.tsv)" -gt 50 ]'
	kill -9 "$(cat "pid.$1")"
	all_ended "$1"
	wait
	goes_on
	nothing_left
}

@test "vqa-forward is killed" {
	kills vqa-forward
}

@test "vqa-loss is killed" {
	kills vqa-loss
}

@test "vqa-backward is killed" {
	kills vqa-backward
}

@test "vqa-step is killed" {
	kills vqa-step
}

@test "whatever feeds vqa-forward is killed" {
	mkfifo feed
	(
		source_stream() {
			cat feed
		}
		train start.safetensors run
	) 3>&- &
	(head -c 1000000 stream; sleep 60) >feed 3>&- &
	feeder=$!
	wait_for '[ -e run/log.tsv ] && [ "$(wc -l <run/log.tsv)" -gt 20 ]'
	pkill -9 -P $feeder || true
	kill -9 $feeder || true
	all_ended none
	goes_on
}

# tee_loss: vqa-loss with tee in front of it.
tee_loss() {
	sh -c 'echo $$ >pid.tee; exec tee copy' | member vqa-loss
}

@test "tee between members, and its death" {
	between=tee_loss
	(train start.safetensors run)
	cmp run/LAST.safetensors whole.safetensors
	rm -rf run pid.* status.* said.*
	(train start.safetensors run) 3>&- &
	wait_for '[ -e run/log.tsv ] && [ "$(wc -l <run/log.tsv)" -gt 50 ]'
	kill -9 "$(cat pid.tee)"
	all_ended none
	wait
	unset between
	goes_on
}

@test "a reader of vqa-step's table that leaves" {
	behind='head -n 3'
	(train start.safetensors run) || true
	all_ended none
	unset behind
	goes_on
}

# Nobody is taken for dead because he is slow.
@test "stopped and continued" {
	(train start.safetensors run) 3>&- &
	for name in vqa-step vqa-forward vqa-backward; do
		wait_for "[ -e pid.$name ]"
		kill -STOP "$(cat "pid.$name")"
		sleep 0.3
		kill -CONT "$(cat "pid.$name")"
	done
	wait
	[ "$(cat status.vqa-forward status.vqa-loss status.vqa-backward status.vqa-step | tr -d '\n')" = 0000 ]
	cmp run/LAST.safetensors whole.safetensors
}

@test "killed while it is stopped" {
	(train start.safetensors run) 3>&- &
	wait_for '[ -e run/log.tsv ] && [ "$(wc -l <run/log.tsv)" -gt 50 ]'
	kill -STOP "$(cat pid.vqa-backward)"
	kill -9 "$(cat pid.vqa-step)"
	sleep 0.2
	kill -CONT "$(cat pid.vqa-backward)"
	all_ended vqa-step
	wait
	goes_on
}

@test "two pipelines at once do not meet" {
	mkdir other
	cp start.safetensors stream other/
	(cd other && train start.safetensors run) 3>&- &
	(train start.safetensors run)
	wait
	cmp run/LAST.safetensors whole.safetensors
	cmp other/run/LAST.safetensors whole.safetensors
}

# tee notices that its reader is gone only when it writes.
@test "vqa-step is refused behind a tee" {
	mkdir run
	cp whole.safetensors run/LAST.safetensors
	vqa-forward -t -b 4 -r 3 start <stream 2>said.forward | vqa-loss 2>said.loss | vqa-backward 2>said.backward | tee copy |
		vqa-step -o run 2>said.step || true
	grep -q "holds another run's snapshot" said.step
	grep -q '^vqa-forward: ' said.forward
}

@test "two runs in one folder: the second is refused" {
	(train start.safetensors run) 3>&- &
	wait_for '[ -e run/log.tsv ]'
	mkdir other
	cp start.safetensors stream other/
	(cd other && train start.safetensors ../run) || true
	[ "$(cat other/said.vqa-step)" = "vqa-step: ../run: another run is writing there" ]
	wait
	[ "$(cat status.vqa-step)" = 0 ]
}

@test "a folder with another run's snapshot is not overwritten" {
	(train start.safetensors run)
	cp run/LAST.safetensors before.safetensors
	(train start.safetensors run) || true
	[ "$(cat said.vqa-step)" = "vqa-step: run/LAST.safetensors: holds another run's snapshot; go on with it (vqa-forward -t run) or name another folder" ]
	cmp run/LAST.safetensors before.safetensors
}

@test "other seed, batch, dropout, precision or stream: a run does not go on" {
	(train start.safetensors run) 3>&- &
	wait_for '[ -e run/LAST.safetensors ]'
	kill -9 "$(cat pid.vqa-step)"
	wait || true
	refused() {
		local words=$1
		shift
		vqa-forward -t "$@" run <"${other:-stream}" 2>said | cat >/dev/null
		[ "$(cat said)" = "vqa-forward: run/LAST.safetensors: its run has $words; it goes on only with the same" ]
	}
	refused 'batch 4, found 5' -b 5 -r 3
	refused 'seed 3, found 4' -b 4 -r 4
	refused 'dropout 0.1, found 0.2' -b 4 -r 3 --dropout 0.2
	refused 'precision f32, found bf16' -b 4 -r 3 -p bf16
	refused '--compat off, found on' -b 4 -r 3 --compat
	/usr/bin/python3 "$ROOT/tests/synthetic.py" --names --answers 13 --seed 2 >another
	other=another refused 'source synthetic 1, found synthetic 2' -b 4 -r 3
}

# The same pipeline with questions left out at the source (vqa-tokenize --skip) goes on in its place, too.
@test "a stream that leaves out questions" {
	vqa-dump <stream | sed '1s/"source"/"skip":6,"source"/' | vqa-dump -r >rest
	mv rest stream
	(train start.safetensors undisturbed)
	(train start.safetensors run) 3>&- &
	wait_for '[ -e run/LAST.safetensors ]'
	kill -9 "$(cat pid.vqa-step)"
	wait || true
	(train run run)
	cmp run/LAST.safetensors undisturbed/LAST.safetensors
	cmp run/log.tsv undisturbed/log.tsv
	[ "$(ckpt-info --json run | jq -c '.run | [.first, .taken]')" = '[0,0]' ]
}

# SIGXFSZ apart, a limit on a file's size is a full disk: EFBIG instead of ENOSPC.
@test "a full disk at a snapshot leaves the last one" {
	(train start.safetensors run)
	cp run/LAST.safetensors before.safetensors
	cp run/LAST.optimizer before.optimizer
	vqa-forward -t -b 4 -r 3 run <stream 2>said.forward | vqa-loss 2>said.loss | vqa-backward 2>said.backward |
		(trap '' XFSZ; ulimit -f 400; exec vqa-step -o run --lr 0.01 --schedule constant --save-every 20 2>said.step) >log2 && return 1
	grep -q '^vqa-step: run/LAST.optimizer.next: cannot write: File too large$' said.step
	cmp run/LAST.safetensors before.safetensors
	cmp run/LAST.optimizer before.optimizer
	[ -z "$(find run -name '*.new.*')" ]
}

@test "nobody spins while he waits" {
	(train start.safetensors run) 3>&- &
	wait_for '[ -e run/log.tsv ]'
	kill -STOP "$(cat pid.vqa-step)"
	sleep 0.3
	used() {
		awk '{ print $14 + $15 }' "/proc/$(cat "pid.$1")/stat"
	}
	forward=$(used vqa-forward)
	backward=$(used vqa-backward)
	sleep 1
	# Ticks of 10 ms in one second of waiting.
	[ $(($(used vqa-forward) - forward)) -le 5 ]
	[ $(($(used vqa-backward) - backward)) -le 5 ]
	kill -CONT "$(cat pid.vqa-step)"
	wait
}
