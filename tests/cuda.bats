#!/usr/bin/env bats
# The CUDA backend through the programs, beside the CPU's: on a card with VQA_TEST_DEVICE=cuda, else on tests/emu's CUDA.
load helper

setup() {
	cd "$BATS_TEST_TMPDIR"
	if [ -z "${VQA_TEST_DEVICE:-}" ]; then
		export VQA_CUDA=${VQA_EMU:-$ROOT/build/emu/libvqa-cuda.so} VQA_EMU_LATE=1
		[ -e "$VQA_CUDA" ] || skip "no $VQA_CUDA here (make emu)"
	fi
	prepare
	vqa-tokenize questions.json | vqa-featload features.lmdb >stream
}

# near TOLERANCE A B: two files of numbers, of as many, none further apart than TOLERANCE of the largest.
near() {
	paste -d ' ' <(tr -s ' \t' '\n' <"$2") <(tr -s ' \t' '\n' <"$3") | awk -v tolerance="$1" '
		NF != 2 || $1 == "nan" || $2 == "nan" { bad = 1 }
		{ d = $1 - $2; d = d < 0 ? -d : d; a = $1 < 0 ? -$1 : $1; worst = d > worst ? d : worst; most = a > most ? a : most }
		END { if (bad || !NR || worst > tolerance * most) { print "off by", worst, "of", most, "in", NR; exit 1 } }'
}

numbers() {
	vqa-dump | jq -r 'select(.type == "answer") | .logits.f32[], (.attention // {} | to_entries | sort_by(.key)[] | .value.f32[])'
}

@test "devices that are none, or not here" {
	for word in gpu cuda: auto: auto:x autos; do
		fails_with 2 "vqa-forward: option -D: '$word' is not one of auto|auto:N|cpu|cuda|cuda:N" vqa-forward -D $word tiny <stream
	done
	VQA_CUDA=./none.so fails_with 1 'vqa-forward: cannot load the cuda backend: ./none.so: cannot open shared object file: No such file or directory' \
		vqa-forward -D cuda tiny <stream
	[ -n "${VQA_TEST_DEVICE:-}" ] && return
	fails_with 1 "vqa-forward: device 'cuda:7' is not here, expected one below 1" vqa-forward -D cuda:7 tiny <stream
	VQA_EMU_DEVICES=0 fails_with 1 'vqa-forward: no GPU can be used: no CUDA-capable device is detected' vqa-forward -D cuda tiny <stream
}

@test "auto: where there is no GPU, the processor, without a word" {
	[ -z "${VQA_TEST_DEVICE:-}" ] || skip 'a card is here'
	VQA_EMU_DEVICES=0 fails_with 1 'vqa-forward: the cpu backend has no products in tf32 on this machine' vqa-forward -p tf32 tiny <stream
	vqa-forward -D cpu -l tiny <stream >cpu
	VQA_EMU_DEVICES=0 vqa-forward -l tiny <stream >auto 2>said
	VQA_EMU_DEVICES=0 vqa-forward -D auto:1 -l tiny <stream 2>>said | cmp - auto
	VQA_CUDA=./none.so vqa-forward -l tiny <stream 2>>said | cmp - auto
	cmp cpu auto
	[ ! -s said ]
}

# header: of the stream on stdin, what it says of the device and the precision.
header() {
	vqa-dump | jq -c 'select(.type == "header") | [.device, .device_name, .precision]'
}

@test "headers name the device and the precision; -t tells of a card" {
	local name='emulated CUDA device'
	[ -z "${VQA_TEST_DEVICE:-}" ] || name=$(nvidia-smi -i 0 --query-gpu=name --format=csv,noheader)
	[ "$(vqa-forward -D cpu tiny <stream | header)" = '["cpu",null,"f32"]' ]
	[ "$(vqa-forward -D cuda tiny <stream | header)" = "[\"cuda:0\",\"$name\",\"f32\"]" ]
	[ "$(vqa-forward -D cuda -p tf32 tiny <stream 2>said | header)" = "[\"cuda:0\",\"$name\",\"tf32\"]" ]
	[ ! -s said ]
	training() {
		vqa-forward -t -b 4 "$@" tiny <stream 2>said | tee batches | vqa-loss | vqa-backward | vqa-step >log
	}
	set -o pipefail
	training -D cpu
	[ ! -s said ]
	[ "$(header <batches)" = '["cpu",null,"f32"]' ]
	training
	[ "$(cat said)" = "vqa-forward: training on cuda:0, $name" ]
	[ "$(header <batches)" = "[\"cuda:0\",\"$name\",\"f32\"]" ]
	training --quiet
	[ ! -s said ]
}

@test "auto:N counts round the cards that are there, cuda:N does not" {
	[ -z "${VQA_TEST_DEVICE:-}" ] || skip 'a machine has as many cards as it has'
	opened() {
		VQA_EMU_DEVICES=$1 vqa-forward -D "$2" tiny <stream | header | jq -r '.[0]'
	}
	[ "$(opened 1 auto)" = cuda:0 ]
	[ "$(opened 1 auto:1)" = cuda:0 ]
	[ "$(opened 2 auto)" = cuda:0 ]
	[ "$(opened 2 auto:1)" = cuda:1 ]
	[ "$(opened 2 auto:2)" = cuda:0 ]
	[ "$(opened 3 auto:999)" = cuda:0 ]
	[ "$(opened 3 auto:998)" = cuda:2 ]
	[ "$(opened 2 cuda:1)" = cuda:1 ]
	VQA_EMU_DEVICES=2 fails_with 1 "vqa-forward: device 'cuda:2' is not here, expected one below 2" vqa-forward -D cuda:2 tiny <stream
}

@test "answers and attention as the processor's; the batch does not matter" {
	for options in '' -s -a '-s -a'; do
		# shellcheck disable=SC2086
		ckpt-init -L 2,2,2 -H 48 -n 3 -F 80 -f 360 --source features.tsv $options -r 1 -A answers.json model.safetensors
		for want in '' '-a all'; do
			# shellcheck disable=SC2086
			vqa-forward -D cpu -l $want model.safetensors <stream | numbers >cpu
			# shellcheck disable=SC2086
			vqa-forward -D cuda -l $want model.safetensors <stream | numbers >cuda
			near 1e-5 cpu cuda
		done
		vqa-forward -D cuda -l -b 3 model.safetensors <stream | numbers >threes
		vqa-forward -D cuda -l model.safetensors <stream | numbers >whole
		near 1e-5 whole threes
	done
}

# Questions about an image are cut everywhere, and a batch begins before the one before it has ended.
@test "many small batches: the processor's answers" {
	jq -n '[range(13) | "a\(.)"]' >names.json
	/usr/bin/python3 "$ROOT/tests/synthetic.py" --names --answers 13 --questions 60 >many
	for options in '' '-s -a' '-a --span-rows 3' '-s -d 1'; do
		# shellcheck disable=SC2086
		ckpt-init -L 2,1,2 -H 32 -n 4 -F 64 -f 24 $options -r 1 -A names.json model.safetensors
		for want in '-b 1' '-b 2' '-b 3' '-b 7' '-b 3 -a all' '-b 3 -r 3 --compat'; do
			# shellcheck disable=SC2086
			vqa-forward -D cpu -l $want model.safetensors <many | numbers >cpu
			# shellcheck disable=SC2086
			vqa-forward -D cuda -l $want model.safetensors <many | numbers >cuda
			near 1e-5 cpu cuda
		done
	done
}

@test "a question that is sent alone is answered before the next" {
	vqa-forward -D cuda -b 1 -l tiny <stream >together
	/usr/bin/python3 "$ROOT/tests/alone.py" vqa-forward -D cuda -b 1 -l tiny <stream | cmp - together
}

@test "too little memory: one line, and no end record" {
	[ -z "${VQA_TEST_DEVICE:-}" ] || skip 'a card has enough'
	export VQA_EMU_MEMORY=30000000
	vqa-forward -D cuda -b 4096 tiny <stream 2>said >out && return 1
	[ ! -s out ]
	[ "$(sed 's/[0-9]* bytes/N bytes/' said)" = 'vqa-forward: out of memory for batches of 4096 questions: N bytes' ]
	fails_with 1 "vqa-forward: cuda backend: cudaMalloc: out of memory for an operation's scratch" \
		vqa-forward -D cuda -b 2 tiny <stream
	run -1 vqa-dump <fails_with.out
}

@test "bf16: as the processor's within its rounding" {
	grep -qw avx512bw /proc/cpuinfo || skip 'this processor has no products in bf16 to compare with'
	vqa-forward -D cpu -p bf16 -l tiny <stream | numbers >cpu
	vqa-forward -D cuda -p bf16 -l tiny <stream | numbers >cuda
	near 1e-2 cpu cuda
	# TF32 is for products in float32.
	VQA_TF32=1 vqa-forward -D cuda -p bf16 -l tiny <stream | numbers | cmp - cuda
}

# That bits are lost shows in more digits than float32's sums in another order.
@test "tf32: further from the processor than float32, by its rounding; VQA_TF32 makes float32 it" {
	ckpt-init -L 2,2,2 -H 128 -n 4 -F 256 -f 360 --source features.tsv -s -a -r 1 -A answers.json model.safetensors
	vqa-forward -D cpu -l model <stream | numbers >cpu
	vqa-forward -D cuda -l model <stream | numbers >f32
	vqa-forward -D cuda -p tf32 -l model <stream >answers
	numbers <answers >tf32
	near 1e-5 cpu f32
	near 5e-3 cpu tf32
	run ! near 5e-5 cpu tf32
	VQA_TF32=1 vqa-forward -D cuda -l model <stream | cmp - answers
	VQA_TF32=0 vqa-forward -D cuda -l model <stream | numbers | cmp - f32
}

@test "tf32: a training's header and snapshot say it, and it goes on only in it" {
	local start=(-t -D cuda -b 4 -r 3 --dropout 0.1)
	refused() {
		vqa-forward "${start[@]}" "${@:2}" run <stream 2>said | cat >none
		[ "$(cat said)" = "vqa-forward: run/LAST.safetensors: its run has precision $1; it goes on only with the same" ]
	}
	set -o pipefail
	vqa-forward "${start[@]}" -p tf32 tiny <stream | tee batches | vqa-loss | vqa-backward | vqa-step -o run --lr 0.01 --schedule constant >log
	[ "$(header <batches | jq -r '.[2]')" = tf32 ]
	[ "$(ckpt-info --json run | jq -r .run.precision)" = tf32 ]
	set +o pipefail
	refused 'tf32, found f32' -p f32
	refused 'tf32, found bf16' -p bf16
	set -o pipefail
	VQA_TF32=1 vqa-forward "${start[@]}" run <stream | vqa-loss | vqa-backward | vqa-step -o run --lr 0.01 --schedule constant >log
	[ "$(tail -n +2 run/log.tsv | wc -l)" = 4 ]
	[ "$(ckpt-info --json run | jq -r .run.precision)" = tf32 ]
	# What the run learned is the same to TF32's rounding, and not the same.
	vqa-forward "${start[@]}" tiny <stream | vqa-loss | vqa-backward | vqa-step -o f32 --lr 0.01 --schedule constant >log
	near 1e-2 <(sed -n 2,3p f32/log.tsv | cut -f 2-5) <(sed -n 2,3p run/log.tsv | cut -f 2-5)
	run ! near 1e-6 <(sed -n 2,3p f32/log.tsv | cut -f 2-5) <(sed -n 2,3p run/log.tsv | cut -f 2-5)
}

# The library for real cards, where it is built.
built() {
	library=$ROOT/build/libvqa-cuda.so
	[ -e "$library" ] || skip 'no nvcc here, or CUDA=0'
}

@test "the library needs what it says" {
	built
	for needed in libcudart libcublas libcublasLt libcudnn; do
		readelf -d "$library" | grep -q "NEEDED.*\[$needed\.so"
	done
}

@test "the cards that are promised are in the library" {
	built
	objcopy -O binary --only-section=.nv_fatbin "$library" fatbin
	/usr/bin/python3 "$ROOT/tests/fatbin.py" <fatbin >files
	[ "$(sort -u files)" = 'elf 80, elf 90, ptx 90' ]
}

# The build fails on a kernel that spills; here also on one with memory of its own.
@test "no kernel spills, or has memory of its own" {
	built
	command -v cuobjdump >/dev/null || skip 'no cuobjdump here'
	cuobjdump --dump-resource-usage "$library" >usage 2>&1
	grep -q 'REG:[0-9]' usage
	! grep -E '(STACK|LOCAL):[1-9]' usage
}

# train DEVICE FOLDER CHECKPOINT
train() {
	set -o pipefail
	vqa-forward -t -D "$1" -b 4 -r 3 --dropout 0.1 "$3" <long | vqa-loss | vqa-backward |
		vqa-step -o "$2" --lr 0.01 --schedule constant --lookahead 3,0.5 >log
}

@test "what is begun is answered, though the next batch cannot begin" {
	echo '[[], [], [], [], [], []]' >two
	for device in cpu cuda; do
		fails_with 1 'vqa-forward: step 3: draws of 2 steps were recorded' vqa-forward -D $device -b 1 --draws two tiny <stream
		vqa-forward -D $device -b 1 --draws two tiny <stream 2>said >$device || true
		[ "$(vqa-dump <$device 2>>said | jq -r 'select(.type == "answer").id' | wc -l)" = 2 ]
	done
}

# A launch that is refused is told of there.
@test "every kernel starts in one place" {
	[ "$(grep -rohE 'cu(da)?Launch\w*' "$ROOT/lib/op/cuda")" = cudaLaunchKernel ]
	! grep -rn '<<<' "$ROOT/lib/op/cuda"
}

# Dropout and LayerDrop on: were a mask another, the losses would differ in the first digits.
@test "training as the processor's, and from one device to the other" {
	jq -n '[range(13) | "a\(.)"]' >names.json
	/usr/bin/python3 "$ROOT/tests/synthetic.py" --names --answers 13 --questions 40 >long
	for options in '' '-s -a -d 1'; do
		rm -rf start.safetensors cpu cuda
		# shellcheck disable=SC2086
		ckpt-init -L 2,2,2 -H 32 -n 4 -F 64 -f 24 $options -r 1 -A names.json start.safetensors
		train cpu cpu start.safetensors
		train cuda cuda start.safetensors
		near 1e-3 <(cut -f 2-6 cpu/log.tsv | tail -n +2) <(cut -f 2-6 cuda/log.tsv | tail -n +2)
		train cuda cuda cuda
		[ "$(tail -n +2 cuda/log.tsv | wc -l)" = 20 ]
		train cpu cuda cuda
		[ "$(tail -n +2 cuda/log.tsv | wc -l)" = 30 ]
	done
}

# few: the pipelines, here, train a small model on eight questions about four images.
few() {
	export DATA=few EPOCHS=2 BATCH=4 MODEL='-L 1,1,1 -H 32 -n 4 -F 64'
	mkdir -p data/few
	cp -r "$ROOT/pipelines" .
	ln -s "$BIN" bin
	for list in train valid test; do
		cp questions.json "data/few/$list.json"
		cp labels.json "data/few/$list-labels.json"
		cp features.lmdb "data/few/$list.lmdb"
	done
	cp answers.json data/few
	touch data/few/whole
}

# sparse DEVICE: pipelines/train-sparse into snap.DEVICE.
sparse() (
	[ "$1" = cuda ] || export VQA_CUDA=./none.so
	SNAP=$PWD/snap.$1 pipelines/train-sparse >"said.$1"
)

@test "train-sparse from the data to the score, its four programs on the device" {
	[ -z "${VQA_SANITIZED:-}" ] || skip 'trainings of pipelines run in the release build'
	few
	sparse cpu
	sparse cuda
	near 1e-3 <(cut -f 2-6 snap.cpu/sparse/log.tsv | tail -n +2) <(cut -f 2-6 snap.cuda/sparse/log.tsv | tail -n +2)
	[ "$(tail -n +2 snap.cuda/sparse/log.tsv | wc -l)" = 4 ]
	jq -e 'length == 8' snap.cuda/sparse/test_predict.json
	diff <(sed 's/snap.cpu/snap.cuda/' said.cpu) said.cuda
}

@test "the host touches no memory of the device" {
	[ -z "${VQA_TEST_DEVICE:-}" ] || skip 'a card would not tell'
	[ -z "${VQA_SANITIZED:-}" ] || skip 'the release build shows it'
	export VQA_EMU_CLOSED=1
	jq -n '[range(13) | "a\(.)"]' >names.json
	/usr/bin/python3 "$ROOT/tests/synthetic.py" --names --answers 13 --questions 12 >long
	ckpt-init -L 1,1,1 -H 32 -n 4 -F 64 -f 24 -s -a -r 1 -A names.json start.safetensors
	train cuda run start.safetensors
	[ "$(tail -n +2 run/log.tsv | wc -l)" = 3 ]
	vqa-forward -D cuda -l -a all tiny <stream | numbers >/dev/null
}

@test "the same bytes again" {
	jq -n '[range(13) | "a\(.)"]' >names.json
	/usr/bin/python3 "$ROOT/tests/synthetic.py" --names --answers 13 --questions 16 >long
	ckpt-init -L 1,1,1 -H 32 -n 4 -F 64 -f 24 -s -r 1 -A names.json start.safetensors
	train cuda one start.safetensors
	train cuda two start.safetensors
	cmp one/LAST.safetensors two/LAST.safetensors
	cmp one/LAST.optimizer two/LAST.optimizer
}

@test "a member that is killed ends all" {
	[ -z "${VQA_SANITIZED:-}" ] || skip 'long trainings run only in the release build'
	jq -n '[range(13) | "a\(.)"]' >names.json
	/usr/bin/python3 "$ROOT/tests/synthetic.py" --names --answers 13 --questions 4000 >long
	ckpt-init -L 1,1,1 -H 32 -n 4 -F 64 -f 24 -r 1 -A names.json start.safetensors
	for victim in vqa-forward vqa-backward vqa-step; do
		rm -rf run pid.* status.* said.*
		member vqa-forward -t -D cuda -b 4 start.safetensors <long | member vqa-loss | member vqa-backward |
			member vqa-step -o run --lr 0.01 --schedule constant --save-every 5 >log &
		wait_for '[ -e run/LAST.safetensors ]'
		kill -KILL "$(cat pid.$victim)"
		SECONDS=0
		wait_for '[ -e status.vqa-forward ] && [ -e status.vqa-loss ] && [ -e status.vqa-backward ] && [ -e status.vqa-step ]'
		[ "$SECONDS" -le 5 ]
		wait
		ckpt-info run/LAST.safetensors >/dev/null
	done
}

# others COUNT NAME FILE: the tests of another file whose names match, and there are so many.
others() {
	[ "$(bats --count -f "$2" "$ROOT/tests/$3")" = "$1" ]
	bats -f "$2" "$ROOT/tests/$3"
}

@test "weights in bf16 are what a step left, whoever wrote them" {
	[ -z "${VQA_SANITIZED:-}" ] || skip 'trainings run in the release build'
	VQA_TEST_DEVICE=cuda others 1 'in bf16, a start a step' vqa-step.bats
}

@test "two ranks, each on a device" {
	[ -z "${VQA_SANITIZED:-}" ] || skip 'trainings of ranks run in the release build'
	card_0=0 card_1=0 others 1 'two ranks in bf16' vqa-allreduce.bats
}

@test "two ranks, each on a card of its own, with NCCL" {
	[ "${VQA_TEST_DEVICE:-}" ] || skip 'on tests/emu they are in tests/vqa-allreduce.bats'
	[ "$(nvidia-smi -L | wc -l)" -ge 2 ] || skip 'fewer than two cards are here'
	others 3 '^--nccl' vqa-allreduce.bats
}

# Three ranks on two cards, and what their mpirun was told to pass on.
@test "RANKS=3 train-sparse: the ranks take the cards in turn" {
	[ -z "${VQA_SANITIZED:-}" ] || skip 'trainings of ranks run in the release build'
	[ -z "${VQA_TEST_DEVICE:-}" ] || skip 'a machine has as many cards as it has'
	few
	export BATCH=6 VQA_EMU_DEVICES=2
	printf '#!/bin/bash\necho "$@" >>mpirun.told\nexec mpirun "$@"\n' >told
	chmod +x told
	SNAP=$PWD/one pipelines/train-sparse >said.one
	SNAP=$PWD/three RANKS=3 MPIRUN=./told VQA_TF32=0 pipelines/train-sparse >said.three 2>errors
	[ "$(grep -o 'training on cuda:[0-9]' errors | sort)" = "$(printf 'training on cuda:%d\n' 0 0 0 0 1 1)" ]
	grep -q -- ' -x VQA_TF32 ' mpirun.told
	near 1e-3 <(cut -f 2-6 one/sparse/log.tsv | tail -n +2) <(cut -f 2-6 three/sparse/log.tsv | tail -n +2)
}

@test "RANKS=2 NCCL=1 train-sparse: the steps of one rank" {
	[ -z "${VQA_SANITIZED:-}" ] || skip 'trainings of ranks run in the release build'
	if [ -z "${VQA_TEST_DEVICE:-}" ]; then
		export VQA_EMU_DEVICES=2 VQA_NCCL=$VQA_CUDA
	else
		[ "$(nvidia-smi -L | wc -l)" -ge 2 ] || skip 'fewer than two cards are here'
	fi
	few
	SNAP=$PWD/one pipelines/train-sparse >said.one
	SNAP=$PWD/two RANKS=2 NCCL=1 NCCL_DEBUG=VERSION pipelines/train-sparse >said.two 2>errors
	grep -q 'NCCL version' errors
	near 1e-3 <(cut -f 2-6 one/sparse/log.tsv | tail -n +2) <(cut -f 2-6 two/sparse/log.tsv | tail -n +2)
	[ "$(tail -n +2 two/sparse/log.tsv | wc -l)" = 4 ]
}
