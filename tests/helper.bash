# What every bats file loads: where things are, a folder of its own for each test, and how a failure is asked for.
# shellcheck shell=bash

bats_require_minimum_version 1.5.0

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ROOT
export GOLDEN=$ROOT/tests/golden
export BIN=${VQA_BIN:-$ROOT/bin}
export PATH=$BIN:$ROOT/pipelines:$PATH
export LC_ALL=C.UTF-8
export PYTHONDONTWRITEBYTECODE=1
unset VQA_VOCAB
# Where no test asks for a card the processor computes, on a machine with a card, too.
[ -n "${VQA_TEST_DEVICE:-}" ] || export VQA_CUDA=${VQA_CUDA:-none}
# mpirun: as any user, more ranks than processors, and none bound to one.
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export OMPI_MCA_rmaps_base_oversubscribe=1 OMPI_MCA_hwloc_base_binding_policy=none

setup() {
	cd "$BATS_TEST_TMPDIR" || exit 1
}

# fails_with STATUS LINE COMMAND…: the command exits with STATUS (no crash is taken for it) and says exactly LINE on stderr.
fails_with() {
	local status=0 want=$1 line=$2 said
	shift 2
	"$@" >fails_with.out 2>fails_with.err || status=$?
	said=$(cat fails_with.err)
	if [ "$status" != "$want" ] || [ "$said" != "$line" ]; then
		printf 'command: %s\nstatus:  %s, wanted %s\nsaid:    %s\nwanted:  %s\n' "$*" "$status" "$want" "$said" "$line"
		return 1
	fi
}

programs() {
	basename -s .c "$ROOT"/cmd/*.c
}

# options PROGRAM: those that -h prints, one a line as there: "-b, --batch N".
options() {
	"$1" -h | sed -nE 's/^ +((-., )?-[^ ]+( [A-Z][A-Z,\/]*)?) .*/\1/p'
}

# A folder with questions, labels, answers, four images, their features as TSV and as a store, and a small untrained model.
prepare() {
	local made=$BATS_RUN_TMPDIR/prepared
	(
		flock 9
		# A shell of its own: in a list with || or &&, which a caller may put this in, errexit is not looked at.
		[ -e "$made/whole" ] || MADE=$made bash -euo pipefail -c '
			rm -rf "$MADE"
			mkdir -p "$MADE"
			cd "$MADE"
			cp -r "$GOLDEN"/easy-vqa/. .
			cp questions.json labels.json
			vqa-gridfeat images/*.png >features.tsv
			vqa-featpack features.tsv features.lmdb
			vqa-tokenize questions.json | vqa-featload features.lmdb | vqa-dump >loaded.jsonl
			width=$(jq -r "select(.type == \"header\").features" loaded.jsonl)
			source=$(jq -r "select(.type == \"header\").feature_source" loaded.jsonl)
			rm loaded.jsonl
			ckpt-init -L 1,1,1 -H 32 -n 4 -F 64 -f "$width" --source "$source" -s -r 1 -A answers.json tiny.safetensors
			touch whole'
	) 9>"$BATS_RUN_TMPDIR/prepare.lock" || return 1
	cp -r "$made"/. .
}

# python 'CODE': with tests/safetensors.py's functions at hand
python() {
	PYTHONPATH=$ROOT/tests /usr/bin/python3 -c "import json, math, struct, subprocess
from safetensors import *
$1"
}

# wait_for CONDITION: until it (shell) holds, two minutes at most.
wait_for() {
	local end=$((SECONDS + 120))
	until eval "$1"; do
		if [ "$SECONDS" -gt "$end" ]; then
			echo "waited in vain for: $1"
			return 1
		fi
		sleep 0.05
	done
}

# member COMMAND…: one of a pipeline; its pid in pid.NAME, its words in said.NAME and, if it ends by itself, its status in status.NAME.
member() {
	local status=0
	/bin/bash -c 'echo $$ >"pid.$1"; exec "$@"' bash "$@" 2>"said.$1" || status=$?
	echo "$status" >"status.$1"
	return "$status"
}

# own_tmp, then nothing_left: the temporary files of what runs between are in a folder that is this test's alone, and none is left, nor
# one in /dev/shm, which has no folder of our own: what another process leaves there for a moment is waited for.
own_tmp() {
	export TMPDIR=$BATS_TEST_TMPDIR/tmp
	mkdir "$TMPDIR"
	find /dev/shm | sort >"$BATS_TEST_TMPDIR/shm.before"
}

shm_as_before() {
	[ -z "$(find /dev/shm 2>/dev/null | sort | comm -13 "$BATS_TEST_TMPDIR/shm.before" -)" ]
}

nothing_left() {
	[ -z "$(ls -A "$TMPDIR")" ] || { ls -A "$TMPDIR"; return 1; }
	wait_for shm_as_before
}

# most_memory COMMAND…: its most memory in bytes, in the file most. It is looked at while the command runs: what it had before it was
# executed, which getrusage() counts too, is not its own.
most_memory() {
	/usr/bin/python3 -c '
import re, subprocess, sys, time
command, most = subprocess.Popen(sys.argv[1:]), 0
while command.poll() is None:
    status = open(f"/proc/{command.pid}/status").read()
    name = re.search(r"Name:\s+(\S+)", status)[1]
    if name == sys.argv[1] and "VmHWM" in status:
        most = 1024 * int(re.search(r"VmHWM:\s+(\d+)", status)[1])
    time.sleep(0.001)
open("most", "w").write(f"{most}\n")
sys.exit(command.returncode)' "$@"
}

# bytes_each FEW MANY: what one more takes, where stdin has the memory of FEW and the memory of MANY.
bytes_each() {
	awk -v few="$1" -v many="$2" 'NR == 1 { low = $1 } END { print int(($1 - low) / (many - few)) }'
}

# records TYPE CONDITION: stdin is vqa-dump's; there are records of this type, and CONDITION (jq) holds for each.
records() {
	jq -es --arg type "$1" "map(select(.type == \$type) | ($2)) | length > 0 and all" >/dev/null
}

# The common manners of every program: help, version, wrong usage, a full disk.
manners() {
	local program=$1 status=0
	"$program" -h >manners.out
	grep -q "$program" manners.out
	"$program" --version >manners.out
	grep -qx "$program [0-9.]*" manners.out
	"$program" --no-such-option >/dev/null 2>manners.err || status=$?
	[ "$status" = 2 ]
	[ "$(wc -l <manners.err)" = 1 ]
	status=0
	"$program" -h >/dev/full 2>manners.err || status=$?
	[ "$status" = 1 ]
	grep -q "^$program: stdout: .*No space left" manners.err
}
