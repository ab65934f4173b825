#!/usr/bin/env bats
# The pipelines on easy-VQA, small: TINY=1 is the first 500 images of each list.
load helper

export TINY=1 EPOCHS=2 BATCH=32

# Once for the whole file: a run that nobody disturbs.
setup_file() {
	[ -z "${VQA_SANITIZED:-}" ] || return 0
	SNAP=$BATS_FILE_TMPDIR/snap train-sparse >"$BATS_FILE_TMPDIR/said" 2>"$BATS_FILE_TMPDIR/errors" || {
		cat "$BATS_FILE_TMPDIR/errors"
		return 1
	}
}

setup() {
	[ -z "${VQA_SANITIZED:-}" ] || skip "trainings run in the release build"
	cd "$BATS_TEST_TMPDIR"
	export SNAP=$BATS_FILE_TMPDIR/snap
}

# COMMAND in a group of its own, with SIGINT as in a terminal (the background commands of a shell ignore it).
in_group() {
	exec /usr/bin/python3 -c 'import os, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
os.setsid()
os.execvp(sys.argv[1], sys.argv[1:])' "$@"
}

# That many steps of the run in $SNAP/sparse were taken.
taken() {
	[ -e "$SNAP/sparse/log.tsv" ] && [ "$(wc -l <"$SNAP/sparse/log.tsv")" -gt "$1" ]
}

group_ended() {
	if pgrep -g "$1" >/dev/null; then
		return 1
	fi
}

@test "train-sparse: trains, validates, answers the test split, scores, draws" {
	run=$SNAP/sparse
	cd "$run"
	jq -e 'all(keys == ["answer", "question_id"])' test_predict.json
	[ "$(jq length test_predict.json)" = "$(jq length "$ROOT/data/easy-vqa/tiny/test.json")" ]
	[ "$(ckpt-info --json LAST.safetensors | jq -c '.run | [.streams, .taken]')" = '[2,0]' ]
	[ "$(cut -f 1 log.tsv | tail -n 1)" = "$(ckpt-info --json LAST.safetensors | jq .run.step)" ]
	# After two passes over an eighth of the images it knows colours and the shape of a sentence: half is what guessing yes and no gives.
	awk -F '\t' 'NR == 2 && $4 > 0.5 { good = 1 } END { exit !good }' "$BATS_FILE_TMPDIR/said"
	cmp -s BEST.safetensors START.safetensors && return 1
	for picture in curve answers; do
		[ "$(head -c 8 $picture.png | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ]
	done
	# The reference's text, to the letter.
	head -c 70 log.log | grep -qx '#\{70\}'
	sed -n 4,5p log.log | sed 's/[0-9][0-9]:[0-9][0-9]:[0-9][0-9]/HH:MM:SS/' | diff - <(
		printf 'Time: HH:MM:SS\nSettings: Sparse: True\tAdaptive Span: False\tTiny: True\tBatch size: 32\n')
	sed -n '6,$p' log.log | sed 's/[0-9][0-9.]*/N/g' | diff - <(
		for _ in 0 1; do
			printf '\nEpoch N: Train N\nLoss: N\tEpoch N: Valid N\nEpoch N: Best N\nTime elpased for epoch N\n'
		done
		printf 'N\n%069d\n' 0 | sed '2s/0/#/g')
}

@test "a run that is whole is left as it is" {
	md5sum "$SNAP"/sparse/*.{safetensors,optimizer,log,tsv,png} >before
	train-sparse >said 2>errors
	grep -qx 'snap/sparse: all 2 epochs are done' <(sed "s#$BATS_FILE_TMPDIR/##" errors)
	md5sum -c --quiet before
	diff said "$BATS_FILE_TMPDIR/said"
	# Nor does one on all questions go on from it.
	fails_with 1 "$SNAP/sparse: its run has other question lists (TINY); remove the folder, or name another by SNAP" \
		env TINY= "$ROOT/pipelines/train-sparse"
	md5sum -c --quiet before
}

@test "killed at any moment, it goes on and ends the same" {
	export SNAP=$PWD/snap
	for steps in 40 250; do
		in_group "$ROOT/pipelines/train-sparse" >said 2>errors 3>&- &
		wait_for "taken $steps"
		kill -9 -- "-$!"
		wait "$!" || true
	done
	train-sparse >said 2>errors
	for file in LAST.safetensors LAST.optimizer BEST.safetensors test_predict.json log.tsv; do
		cmp "$SNAP/sparse/$file" "$BATS_FILE_TMPDIR/snap/sparse/$file"
	done
}

@test "Ctrl-C ends every program at once and leaves nothing" {
	export SNAP=$PWD/snap
	own_tmp
	in_group "$ROOT/pipelines/train-sparse" >said 2>errors 3>&- &
	wait_for 'taken 30'
	kill -INT -- "-$!"
	SECONDS=0
	wait_for "group_ended $!"
	[ "$SECONDS" -le 5 ]
	nothing_left
}

@test "ask: the five best answers to a question about a picture" {
	ask "$SNAP/sparse" "$ROOT/data/easy-vqa/images/test/0.png" 'what color is the shape?' >answers
	[ "$(wc -l <answers)" = 5 ]
	jq -e -R -n --slurpfile known "$ROOT/data/easy-vqa/answers.json" '[inputs | split("\t")] |
		all(.[0] as $answer | $known[0] | index($answer)) and (map(.[1] | tonumber) | . == (sort | reverse) and .[0] <= 1 and .[4] >= 0)' <answers
	fails_with 2 'usage: pipelines/ask CHECKPOINT IMAGE.png QUESTION' ask "$SNAP/sparse"
	fails_with 2 'pipelines/ask: the question is empty' ask "$SNAP/sparse" picture.png ' '
	run -1 ask "$SNAP/sparse" none.png 'what color is the shape?'
	[ "$output" = 'vqa-gridfeat: none.png: cannot open: No such file or directory' ]
}

# The five kinds' rows behind each epoch's loss, in the reference's form.
@test "train-adaptive-sparse: spans in the log; then a run from its weights, and its test split alone" {
	local run other
	export SNAP=$PWD/snap EPOCHS=1
	run=$SNAP/adaptive-sparse
	train-adaptive-sparse >said 2>errors
	[ "$(ckpt-info --json "$run" | jq -c '.config | [.sparse, .adaptive, .span_rows]')" = '[true,true,1]' ]
	sed -n 5p "$run/log.log" | grep -qP '^Settings: Sparse: True\tAdaptive Span: True\tTiny: True\tBatch size: 32$'
	{
		printf '\nEpoch N: Train N\nLoss: N\t\tAdapt Span Loss: N\n'
		printf 'Self Language N N\t\nCross N N\tCross N N\t\nCross Self Language N N\tCross Self Language N N\t\n'
		printf 'Cross Self Vision N N\tCross Self Vision N N\t\nSelf Vision N N\tEpoch N: Valid N\n'
	} | diff - <(sed -n 6,13p "$run/log.log" | sed 's/[0-9][0-9.]*/N/g')
	spanreport "$run" | awk -F '\t' 'NR > 1 { print $1, $2, $3 }' >spans
	diff spans <(sed -n 9,13p "$run/log.log" | tr '\t' '\n' | grep -E '^(Self|Cross)')
	# The test split once more, by the same weights under another name.
	other=$PWD/other
	mkdir "$other"
	cp "$run/BEST.safetensors" "$other/named.safetensors"
	SNAP=$other FROM=named test-adaptive-sparse >again
	cmp "$other/adaptive-sparse/test_predict.json" "$run/test_predict.json"
	cmp "$other/adaptive-sparse/FROM.safetensors" "$run/BEST.safetensors"
	diff <(sed 1d said) <(sed 1d again)
	SNAP=$other FROM=$run BATCH=100000 run -1 train-adaptive-sparse
	cmp "$other/adaptive-sparse/START.safetensors" "$run/BEST.safetensors"
	fails_with 1 "FROM: '$run/BEST.safetensors' is a model of the kind 'adaptive-sparse', expected 'sparse'" env FROM="$run" SNAP="$PWD/third" "$ROOT/pipelines/train-sparse"
	fails_with 1 "FROM: no run and no checkpoint 'nothing', in '$SNAP' or elsewhere" env FROM=nothing "$ROOT/pipelines/test-sparse"
	SNAP=$PWD/fourth fails_with 1 "$PWD/fourth/sparse: neither BEST.safetensors nor LAST.safetensors: train first (pipelines/train-sparse), or name weights by FROM" \
		"$ROOT/pipelines/test-sparse"
	cp "$run/START.safetensors" "$other/changed.safetensors"
	fails_with 1 "$other/adaptive-sparse: its run began with other weights (FROM); remove the folder, or name another by SNAP" \
		env SNAP="$other" FROM=changed "$ROOT/pipelines/train-adaptive-sparse"
}

@test "settings that are none" {
	fails_with 2 "EPOCHS is 'one', BATCH '32': expected whole numbers from 1" env EPOCHS=one "$ROOT/pipelines/train-sparse"
	fails_with 2 "EPOCHS is '2', BATCH '0': expected whole numbers from 1" env BATCH=0 "$ROOT/pipelines/train-sparse"
	fails_with 2 "RANKS is '3', BATCH '32': expected a whole number from 1, and a batch that so many share evenly" env RANKS=3 "$ROOT/pipelines/train-sparse"
	fails_with 2 "RANKS is '0', BATCH '32': expected a whole number from 1, and a batch that so many share evenly" env RANKS=0 "$ROOT/pipelines/train-sparse"
	fails_with 1 "data/nosuch: no data set of that name; expected DATA=easy-vqa or vqa2, or a folder as vqa-pipelines(7) describes it" \
		env DATA=nosuch "$ROOT/pipelines/train-sparse"
	fails_with 2 "COMPAT: the reference has no RANKS; expected one of the two" env RANKS=2 COMPAT=1 "$ROOT/pipelines/train-sparse"
}

@test "train-layerdrop: a layer of each stack is left out of each step, and none for answers" {
	export SNAP=$PWD/snap EPOCHS=1
	train-layerdrop >said 2>errors
	[ "$(ckpt-info --json "$SNAP/layerdrop" | jq -c '.config | [.layerdrop, .language, .cross, .vision]')" = '[1,2,3,2]' ]
	awk -F '\t' 'NR == 2 && $2 > 900 && $3 > 0.3 { good = 1 } END { exit !good }' said
}

@test "train-softmax: the same with softmax" {
	export SNAP=$PWD/snap EPOCHS=1
	train-softmax >said 2>errors
	[ "$(ckpt-info --json "$SNAP/softmax" | jq '[.config.sparse, .run.streams] == [false, 1]')" = true ]
	awk -F '\t' 'NR == 2 && $2 > 900 && $3 > 0.3 { good = 1 } END { exit !good }' said
}

# The batches are the same, so the beginning is, to rounding, which the small model's AdamW soon makes more of.
@test "RANKS=2: the same steps; killed, it goes on and ends the same; as a job of Slurm, too" {
	local whole=$PWD/whole
	export RANKS=2 EPOCHS=1 SAVE_EVERY=50
	SNAP=$whole train-sparse >said 2>errors
	[ "$(ckpt-info --json "$whole/sparse" | jq -c '.run | [.streams, .batch, .shards]')" = '[1,16,2]' ]
	SNAP=$PWD/one RANKS=1 train-sparse >said.one 2>errors
	paste "$whole/sparse/log.tsv" one/sparse/log.tsv | awk -F '\t' 'NR > 1 && (NR < 20 && ($4 - $12) ^ 2 > 1e-6 || $6 != $14 || $8 != $16) { print; exit 1 }'
	[ "$(wc -l <"$whole/sparse/log.tsv")" = "$(wc -l <one/sparse/log.tsv)" ]
	awk -F '\t' 'NR == 2 && $4 > 0.3 { good = 1 } END { exit !good }' said
	# Here by the job's own names, from the tree that it was submitted from.
	export SNAP=$PWD/snap TMPDIR=$PWD OMPI_MCA_btl_vader_backing_directory=$PWD
	job() {
		in_group env -u RANKS SLURM_NTASKS=2 SLURM_SUBMIT_DIR="$ROOT" bash "$ROOT/pipelines/slurm" train-sparse
	}
	job >said.job 2>errors 3>&- &
	wait_for 'taken 70'
	kill -9 -- "-$!"
	wait "$!" || true
	wait_for '! pgrep -f "vqa-[a-z]* .*$SNAP/sparse"'
	(job) >said.job 2>errors
	for file in LAST.safetensors LAST.optimizer BEST.safetensors test_predict.json log.tsv; do
		cmp "$SNAP/sparse/$file" "$whole/sparse/$file"
	done
	fails_with 2 'usage: sbatch [--nodes=N] pipelines/slurm train-MODEL' "$ROOT/pipelines/slurm" train-sparse
}
