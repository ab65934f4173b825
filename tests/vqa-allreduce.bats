#!/usr/bin/env bats
# Several ranks on this machine, by mpirun: against one rank, against each other, and when one of them dies.
load helper

export OMP_NUM_THREADS=1
export -f member

VARIANTS='softmax sparse adaptive adaptive-sparse layerdrop'

# Models with dropout (the checkpoint's, 0.1), and 50 questions: four batches of 12, and two left over. stream.I.N is shard I of N.
setup_file() {
	cd "$BATS_FILE_TMPDIR"
	jq -n '[range(13) | "a\(.)"]' >answers.json
	for variant in $VARIANTS; do
		# shellcheck source=pipelines/common
		ckpt-init -L 2,2,2 -H 32 -n 4 -F 64 -f 24 -r 1 -A answers.json \
			$(bash -c 'source "$ROOT/pipelines/common" && variant "$1"' bash "$variant") "$variant.safetensors"
	done
	/usr/bin/python3 "$ROOT/tests/synthetic.py" --names --answers 13 --questions 50 >stream
	for ranks in 2 4; do
		for ((i = 0; i < ranks; i++)); do
			shard "$i" "$ranks" 50 <stream >"stream.$i.$ranks"
		done
	done
	cp stream stream.0.1
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	FILES=$BATS_FILE_TMPDIR
	export FILES
}

edit() {
	/usr/bin/python3 "$ROOT/tests/edit.py" "$1"
}

# shard I N TOTAL: what vqa-tokenize --shard makes of a stream.
shard() {
	edit "
if n == 1:
    k = -1
    r.update(shard=$1, shards=$2, total=$3)
if r['type'] == 'question':
    k += 1
    if k % $2 != $1: r = None"
}

trainings() {
	[ -z "${VQA_SANITIZED:-}" ] || skip "trainings run in the release build"
}

# one CHECKPOINT FOLDER OPTION…: one rank, without vqa-allreduce.
one() {
	vqa-forward -t -b 12 -r 3 "$1" <"$FILES/stream" 2>said.one | vqa-loss | vqa-backward |
		vqa-step -o "$2" --lr 0.01 --schedule constant "${@:3}" >table
}

# changed CODE COMMAND…: the command, with edit.py in front of it if there is a CODE.
changed() {
	if [ "$1" ]; then
		/usr/bin/python3 "$ROOT/tests/edit.py" "$1" | "${@:2}"
	else
		"${@:2}"
	fi
}
export -f changed

# What a rank runs, in a folder of its own: rank RANKS CHECKPOINT FOLDER OPTION…. $seed_I is rank I's seed, $first_I, $before_I and
# $after_I are edit.py's changes of what its vqa-forward, vqa-allreduce and vqa-step read; $card_I is its card, $nccl_I vqa-allreduce's option.
rank() {
	local i=$OMPI_COMM_WORLD_RANK
	local seed=seed_$i first=first_$i before=before_$i after=after_$i card=card_$i nccl=nccl_$i
	set -o pipefail
	rm -rf "r$i"
	mkdir "r$i"
	cd "r$i"
	changed "${!first:-}" member vqa-forward -t ${!card:+-D "cuda:${!card}"} -b $((12 / $1)) -r "${!seed:-3}" "$2" <"${stream:-$FILES/stream}.$i.$1" | member vqa-loss |
		member vqa-backward | changed "${!before:-}" member vqa-allreduce ${!nccl:-} | changed "${!after:-}" member vqa-step -o "$3" --lr 0.01 --schedule constant "${@:4}"
}
export -f rank

# ranks RANKS CHECKPOINT FOLDER OPTION…: all of them; the table in table.
ranks() {
	mpirun -q -n "$1" bash -c 'rank "$@"' bash "$@" </dev/null >table 2>said.mpirun 3>&-
}

# close A B FACTOR: the weights of two snapshots, to rounding. Products of 12, 6 and 3 rows are summed in other orders, which moves a
# gradient by some 1e-7 of its largest values. LAMB's step is a fraction of a weight's norm whatever the gradient's, so four steps with
# rate 0.01 move weights by some 1e-2 in all, and what is small in a gradient, in comparison, by a part of that.
close() {
	python "
a, b = numbers('$1/LAST.safetensors'), numbers('$2/LAST.safetensors')
begun = numbers('$FILES/$variant.safetensors')
assert a.keys() == b.keys()
worst, name = max((max(abs(x - y) for x, y in zip(a[k], b[k])), k) for k in a)
moved = max(max(abs(x - y) for x, y in zip(a[k], begun[k])) for k in a)
print('$variant', '$2', worst, name, moved)
assert moved > 1e-2 and worst < ${3:-2e-5}, (worst, name, moved)
"
}

# rows A B: two log.tsv are the same, to rounding: step, rate, questions to the letter.
rows() {
	diff <(cut -f 1,6,8 "$1") <(cut -f 1,6,8 "$2")
	paste "$1" "$2" | awk -F '\t' 'NR > 1 { for (i = 2; i <= 7; i++) { d = $i - $(i + 8); if (d * d > 1e-10 * (1 + $i * $i)) { print; exit 1 } } }'
}

# Each rank as if it were the first, with its own folder: what they end with is the same, bit for bit; and the first's is one rank's.
same_as_one() {
	local variant=$1 ranks i
	trainings
	one "$FILES/$variant.safetensors" one --clip 0.5
	for ranks in 2 4; do
		for ((i = 0; i < ranks; i++)); do
			export "after_$i=if n == 1: r['rank'] = 0"
		done
		ranks $ranks "$FILES/$variant.safetensors" run --clip 0.5
		for ((i = 1; i < ranks; i++)); do
			cmp r0/run/LAST.safetensors r$i/run/LAST.safetensors
			cmp r0/run/LAST.optimizer r$i/run/LAST.optimizer
			cmp r0/run/log.tsv r$i/run/log.tsv
		done
		rows one/log.tsv r0/run/log.tsv
		close one r0/run
		# The whole batch's norm was clipped.
		awk -F '\t' 'NR > 1 && $5 < 0.5 { exit 1 }' r0/run/log.tsv
	done
}

@test "two and four ranks: softmax" {
	same_as_one softmax
}

@test "two and four ranks: sparse" {
	same_as_one sparse
}

@test "two and four ranks: adaptive" {
	same_as_one adaptive
}

@test "two and four ranks: adaptive-sparse" {
	same_as_one adaptive-sparse
}

@test "two and four ranks: layerdrop" {
	same_as_one layerdrop
}

# Twelve and more bits of a product's operands are gone, so that the order of a sum shows more.
@test "two ranks in bf16" {
	local variant=sparse
	trainings
	grep -q avx512f /proc/cpuinfo || skip "this processor has no AVX-512"
	vqa-forward -t -b 12 -r 3 -p bf16 "$FILES/sparse.safetensors" <"$FILES/stream" 2>said | vqa-loss | vqa-backward |
		vqa-step -o one --lr 0.01 --schedule constant >table
	member() {
		if [ "$1" = vqa-forward ]; then set -- vqa-forward -p bf16 "${@:2}"; fi
		"$@"
	}
	export -f member
	after_0='if n == 1: r["rank"] = 0' after_1='if n == 1: r["rank"] = 0' ranks 2 "$FILES/sparse.safetensors" run
	cmp r0/run/LAST.safetensors r1/run/LAST.safetensors
	close one r0/run 2e-3
}

# Without mpirun there is one, too.
@test "one rank changes nothing" {
	local start=$FILES/adaptive-sparse.safetensors
	trainings
	one "$start" one
	mpirun -q -n 1 bash -o pipefail -c 'vqa-forward -t -b 12 -r 3 "$1" <"$FILES/stream" | vqa-loss | vqa-backward | tee before | vqa-allreduce |
		tee after | vqa-step -o run --lr 0.01 --schedule constant' bash "$start" >table.one 2>said 3>&-
	vqa-forward -t -b 12 -r 3 "$start" <"$FILES/stream" 2>said | vqa-loss | vqa-backward | vqa-allreduce | vqa-step -o alone --lr 0.01 --schedule constant >table.alone
	for run in run alone; do
		cmp one/LAST.safetensors $run/LAST.safetensors
		cmp one/LAST.optimizer $run/LAST.optimizer
		cmp one/log.tsv $run/log.tsv
	done
	cmp table table.one
	cmp table table.alone
	vqa-dump <after | sed '1s/"rank":0,"ranks":1,//' | diff - <(vqa-dump <before)
}

@test "rank 0 alone writes; the record has the means" {
	trainings
	ranks 2 "$FILES/softmax.safetensors" run
	[ "$(ls r1)" = "$(printf 'pid.vqa-%s\n' allreduce backward forward loss step; printf 'said.vqa-%s\n' allreduce backward forward loss step; printf 'status.vqa-%s\n' allreduce backward forward loss step)" ]
	[ "$(ls r0/run)" = "$(printf '%s\n' LAST.optimizer LAST.safetensors log.tsv)" ]
	cmp table r0/run/log.tsv
	[ "$(cat r0/status.* r1/status.* | sort -u)" = 0 ]
	[ "$(cat r1/said.vqa-forward)" = 'vqa-forward: the last 1 questions are no whole batch of 6 in every shard and were not used' ]
}

# told RANK PROGRAM LINE: a program of a rank said this and nothing else.
told() {
	[ "$(cat "r$1/said.$2")" = "$2: $3" ] || { head r*/said.* said.mpirun; return 1; }
}

# refused: the job ends within 5 s, no snapshot is made.
refused() {
	trainings
	SECONDS=0
	if ranks 2 "${start:-$FILES/softmax.safetensors}" run; then
		return 1
	fi
	[ "$SECONDS" -le 5 ]
	all_gone
	[ ! -e r0/run/LAST.safetensors ]
}

# No program of any rank is there any more.
all_gone() {
	wait_for '! kill -0 $(cat r*/pid.*) 2>/dev/null'
}

@test "ranks that are not of one run" {
	seed_1=4 refused
	told 1 vqa-allreduce "rank 1 has seed '4', but rank 0 has '3'; all ranks run the same pipeline"
	first_1='if n == 1: r["source"] = "another"' refused
	told 1 vqa-allreduce "rank 1 has source 'another', but rank 0 has 'synthetic 1'; all ranks run the same pipeline"
	first_1='if n == 1: r["total"] = 51' refused
	told 1 vqa-allreduce "rank 1 has total '51', but rank 0 has '50'; all ranks run the same pipeline"
	first_1='if n == 1: r["shard"] = 0' refused
	told 1 vqa-allreduce "the stream is shard 0/2 of the questions, expected 1/2 (vqa-tokenize --shard RANK/RANKS)"
	first_0='if n == 1: del r["shards"]' first_1='if n == 1: del r["shards"]' refused
	grep -qx 'vqa-allreduce: the stream is shard 0/1 of the questions, expected [01]/2 (vqa-tokenize --shard RANK/RANKS)' r*/said.vqa-allreduce
}

# Of the same sizes, but other weights; of other sizes.
@test "ranks that begin with other weights" {
	trainings
	member() {
		if [ "$1" = vqa-forward ] && [ "$OMPI_COMM_WORLD_RANK" = 1 ]; then
			set -- "${@:1:$#-1}" "$PWD/../other.safetensors"
		fi
		echo $BASHPID >"pid.$1"
		exec "$@" 2>"said.$1"
	}
	export -f member
	ckpt-init -L 2,2,2 -H 32 -n 4 -F 64 -f 24 -r 2 -A "$FILES/answers.json" other.safetensors
	refused
	told 1 vqa-allreduce 'step 1: the weights of rank 1 are not those of rank 0: other checkpoints, or other processors'
	cp "$FILES/sparse.safetensors" other.safetensors
	refused
	grep -Eqx "vqa-allreduce: rank 1 has gradients '[0-9]+ bytes', but rank 0 has '[0-9]+ bytes'; all ranks run the same pipeline" r1/said.vqa-allreduce
}

@test "streams that end too early, or lack something" {
	first_1='if r["type"] == "end": sys.exit()' refused
	told 1 vqa-forward 'stdin: stream truncated after record 36, expected an end record'
	before_1='if r.get("step") == 3: sys.exit()' refused
	grep -Eqx 'vqa-allreduce: (stdin: stream truncated after record 3, expected an end record|vqa-forward ended without a goodbye)' r1/said.vqa-allreduce
	before_1='if r.get("step") == 2: del r["bce"]' refused
	told 1 vqa-allreduce "stdin: record 3 (batch): 'bce' is missing, expected a number"
	before_1='if r.get("step") == 2: r["step"] = 3' refused
	told 1 vqa-allreduce 'rank 1 is at step 3, but rank 0 at step 2'
	before_1='if r.get("step") == 4: r["questions"].pop()' refused
	told 1 vqa-allreduce 'step 4: rank 1 has 5 questions, but rank 0 has 6'
	# A list with fewer questions than its header says.
	first_1='if r.get("type") == "question" and r["id"] > 40: r = None' refused
	grep -Eqx 'vqa-forward: the stream ends with [0-9]+ questions, but a total of 50 in 2 shards makes 4 batches of 6' r1/said.vqa-forward
}

@test "a loss that is no number on one rank: no rank takes the step" {
	before_1='if r.get("step") == 3: r["total"] = float("nan")' refused
	grep -qx 'vqa-step: step 3: the loss is nan; the step is not taken' r0/said.vqa-step r1/said.vqa-step
	[ "$(cut -f 1 r0/run/log.tsv | tail -n 1)" = 2 ]
}

@test "streams that are not a training run's" {
	fails_with 1 "vqa-allreduce: stdin: record 1 (header): 'socket' is missing: expected the stream of vqa-forward -t" vqa-allreduce <"$FILES/stream"
	fails_with 1 "vqa-allreduce: stdin: stream truncated: it is empty, expected a header" vqa-allreduce </dev/null
	trainings
	vqa-forward -t -b 6 "$FILES/softmax.safetensors" <"$FILES/stream.1.2" 2>said.forward | vqa-loss 2>said.loss | vqa-backward 2>said.backward |
		vqa-allreduce 2>said | vqa-step 2>said.step && return 1
	grep -qx 'vqa-allreduce: the stream is shard 1/2 of the questions, expected 0/1 (vqa-tokenize --shard RANK/RANKS)' said
	vqa-forward -t -b 6 "$FILES/softmax.safetensors" < <(edit 'if n == 1: r["shard"] = 2' <"$FILES/stream.1.2") 2>said | cat >out
	[ "$(cat said)" = "vqa-forward: stdin: record 1 (header): 'shard' is 2, expected 0 to 1" ]
}

# One that says less of itself than it can.
@test "an MPI that only one thread at a time may call" {
	trainings
	gcc -shared -fPIC -o level.so -x c - <<-'end'
		int PMPI_Init_thread(int *, char ***, int, int *);
		int MPI_Init_thread(int *argc, char ***argv, int asked, int *level)
		{
			int status = PMPI_Init_thread(argc, argv, asked, level);
			*level = 2;
			return status;
		}
	end
	vqa-forward -t -b 12 "$FILES/softmax.safetensors" <"$FILES/stream" 2>said.forward | vqa-loss 2>said.loss | vqa-backward 2>said.backward |
		LD_PRELOAD=./level.so vqa-allreduce 2>said | vqa-step 2>said.step && return 1
	[ "$(cat said)" = "vqa-allreduce: MPI's thread level is 2, expected MPI_THREAD_MULTIPLE, 3" ]
}

# A stream that is long enough to be disturbed, its shards, and what an undisturbed run makes of it.
long_run() {
	trainings
	/usr/bin/python3 "$ROOT/tests/synthetic.py" --names --answers 13 --questions 1800 >long
	for i in 0 1; do
		shard $i 2 1800 <long >long.$i.2
	done
	export stream=$PWD/long
	(
		mkdir whole
		cd whole
		ranks 2 "$FILES/layerdrop.safetensors" "$PWD/run" --save-every 20
	)
}

begin() {
	ranks 2 "$1" "$PWD/run" --save-every 20 3>&- &
	job=$!
}

steps_taken() {
	[ -e run/log.tsv ] && [ "$(wc -l <run/log.tsv)" -gt "$1" ]
}

# The same command once more, to the same bytes.
goes_on() {
	ranks 2 "$PWD/run" "$PWD/run" --save-every 20
	for file in LAST.safetensors LAST.optimizer log.tsv; do
		cmp run/$file whole/run/$file
	done
	[ -z "$(find run -name '*.next' -o -name '*.new.*')" ]
}

# all_end_with NAME RANK CHECKPOINT STEPS: once so many steps were taken that program of that rank is killed, and all have failed in 5 s.
all_end_with() {
	rm -rf run r0 r1
	begin "$3"
	wait_for "steps_taken $4"
	kill -9 "$(cat "r$2/pid.$1")"
	SECONDS=0
	all_gone
	[ "$SECONDS" -le 5 ] || { echo "$1 of rank $2"; return 1; }
	! wait $job
}

@test "a program of a rank is killed: all ranks end, and go on from the snapshot" {
	long_run
	own_tmp
	for name in vqa-forward vqa-loss vqa-backward vqa-allreduce vqa-step; do
		for victim in 0 1; do
			all_end_with $name $victim "$FILES/layerdrop.safetensors" 30
			[ "$(ckpt-info --json run | jq .run.shards)" = 2 ]
		done
		goes_on
	done
	nothing_left
}

# What mpirun itself would have removed lies in the test's folder.
@test "mpirun is killed: all ranks end" {
	export TMPDIR=$PWD OMPI_MCA_btl_vader_backing_directory=$PWD
	long_run
	begin "$FILES/layerdrop.safetensors"
	wait_for 'steps_taken 30'
	pkill -9 -P $job mpirun || kill -9 $job
	SECONDS=0
	all_gone
	[ "$SECONDS" -le 5 ]
	wait $job || true
	goes_on
}

@test "a run goes on with as many ranks as it began with" {
	long_run
	vqa-forward -t -b 6 -r 3 whole/run <"$FILES/stream" 2>said | cat >out
	[ "$(cat said)" = "vqa-forward: $PWD/whole/run/LAST.safetensors: its run has shards 2, found 1; it goes on only with the same" ] ||
		[ "$(cat said)" = "vqa-forward: whole/run/LAST.safetensors: its run has shards 2, found 1; it goes on only with the same" ]
}

@test "nobody spins while he waits for a rank" {
	long_run
	begin "$FILES/layerdrop.safetensors"
	wait_for 'steps_taken 10'
	kill -STOP "$(cat r1/pid.vqa-forward)"
	sleep 0.3
	used() {
		awk '{ print $14 + $15 }' "/proc/$(cat r0/pid.vqa-allreduce)/stat"
	}
	before=$(used)
	sleep 1
	# Ticks of 10 ms in one second of waiting.
	[ $(($(used) - before)) -le 5 ]
	kill -CONT "$(cat r1/pid.vqa-forward)"
	wait $job
	cmp run/LAST.safetensors whole/run/LAST.safetensors
}

# Each of two ranks has a card of its own, of tests/emu if no real ones are asked for, and their means come by NCCL.
on_cards() {
	trainings
	if [ -z "${VQA_TEST_DEVICE:-}" ]; then
		export VQA_CUDA=${VQA_EMU:-$ROOT/build/emu/libvqa-cuda.so} VQA_EMU_DEVICES=2 VQA_EMU_LATE=1
		export VQA_NCCL=$VQA_CUDA
		[ -e "$VQA_CUDA" ] || skip "no $VQA_CUDA here (make emu)"
	else
		[ "$(nvidia-smi -L | wc -l)" -ge 2 ] || skip 'fewer than two cards are here'
	fi
	export card_0=0 card_1=1 nccl_0=--nccl nccl_1=--nccl
}

# NCCL's own words, which go to standard output, are not in the stream.
@test "--nccl: two ranks end with the weights of one; the same bytes again" {
	local variant=mixed
	on_cards
	ckpt-init -L 2,2,2 -H 32 -n 4 -F 64 -f 24 -s -a -d 1 -r 1 -A "$FILES/answers.json" "$FILES/$variant.safetensors"
	one "$FILES/$variant.safetensors" one --clip 0.5
	export after_0='if n == 1: r["rank"] = 0' after_1='if n == 1: r["rank"] = 0' NCCL_DEBUG=VERSION
	for run in first second; do
		ranks 2 "$FILES/$variant.safetensors" run --clip 0.5
		for file in LAST.safetensors LAST.optimizer log.tsv; do
			cmp r0/run/$file r1/run/$file
		done
		mv r0/run $run
	done
	grep -q 'NCCL version' r0/said.vqa-allreduce
	rows one/log.tsv first/log.tsv
	close one first
	cmp first/LAST.safetensors second/LAST.safetensors
	cmp first/LAST.optimizer second/LAST.optimizer
}

@test "--nccl: a program of a rank is killed: all ranks end" {
	on_cards
	own_tmp
	/usr/bin/python3 "$ROOT/tests/synthetic.py" --names --answers 13 --questions 3000 >long
	for i in 0 1; do
		shard $i 2 3000 <long >long.$i.2
	done
	export stream=$PWD/long
	for name in vqa-backward vqa-allreduce; do
		for victim in 0 1; do
			all_end_with $name $victim "$FILES/sparse.safetensors" 3
		done
	done
	nothing_left
}

@test "--nccl: no card, no NCCL, not all ranks, one card for two" {
	local line='vqa-allreduce: --nccl: vqa-forward computes on the processor, expected a GPU (-D cuda:N)'
	trainings
	vqa-forward -t -D cpu -b 12 "$FILES/softmax.safetensors" <"$FILES/stream" 2>said.forward | vqa-loss 2>said.loss | vqa-backward 2>said.backward |
		vqa-allreduce --nccl 2>said | vqa-step 2>said.step && return 1
	[ "$(cat said)" = "$line" ]
	on_cards
	nccl_1='' refused
	told 1 vqa-allreduce "rank 1 has --nccl 'off', but rank 0 has 'on'; all ranks run the same pipeline"
	VQA_NCCL=./none.so refused
	told 0 vqa-allreduce 'cannot load NCCL: ./none.so: cannot open shared object file: No such file or directory'
	VQA_NCCL=libm.so.6 refused
	grep -Eqx 'vqa-allreduce: cannot use NCCL: [^ ]*libm.so.6: undefined symbol: ncclGetUniqueId' r0/said.vqa-allreduce
	card_1=0 refused
	grep -qx 'vqa-allreduce: NCCL: ncclCommInitRank: invalid usage (run with NCCL_DEBUG=WARN for details)' r*/said.vqa-allreduce
}

@test "manners" {
	manners vqa-allreduce
	fails_with 2 "vqa-allreduce: too many operands: 'x' was not expected; see vqa-allreduce --help" vqa-allreduce x
}

# The libraries and the other programs do not know of MPI.
@test "vqa-allreduce alone is linked with MPI" {
	[ "$(ldd "$BIN/vqa-allreduce" | grep -c libmpi.so)" = 1 ]
	for program in $(programs); do
		[ "$program" = vqa-allreduce ] || ! ldd "$BIN/$program" | grep libmpi || return 1
	done
}
