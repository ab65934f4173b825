# What every bats file loads: where things are, a folder of its own for each test, and how a failure is asked for.
# shellcheck shell=bash

bats_require_minimum_version 1.5.0

ROOT=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
export ROOT
export GOLDEN=$ROOT/tests/golden
export BIN=${VQA_BIN:-$ROOT/bin}
export PATH=$BIN:$ROOT/pipelines:$PATH
export LC_ALL=C.UTF-8
unset VQA_VOCAB

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

# What prepare copies, made once a run.
make_prepared() {
	local header
	rm -rf "$1"
	mkdir -p "$1"
	cd "$1" || return 1
	cp -r "$GOLDEN"/easy-vqa/. .
	cp questions.json labels.json
	vqa-gridfeat images/*.png >features.tsv
	vqa-featpack features.tsv features.lmdb
	header=$(vqa-tokenize questions.json | vqa-featload features.lmdb | vqa-dump | sed -n 1p)
	ckpt-init -L 1,1,1 -H 32 -n 4 -F 64 -f "$(jq .features <<<"$header")" --source "$(jq -r .feature_source <<<"$header")" \
		-s -r 1 -A answers.json tiny.safetensors
	touch whole
}
export -f make_prepared

# A folder with questions, labels, answers, four images, their features as TSV and as a store, and a small untrained model.
prepare() {
	local made=$BATS_RUN_TMPDIR/prepared
	# A shell of its own: errexit does not hold in a function that is asked for its status.
	# shellcheck disable=SC2016 # that shell's own $1
	flock "$BATS_RUN_TMPDIR/prepare.lock" bash -euo pipefail -c '[ -e "$1/whole" ] || make_prepared "$1"' bash "$made" || return 1
	cp -r "$made"/. .
}

# records TYPE CONDITION: stdin is vqa-dump's; there are records of this type, and CONDITION (jq) holds for each.
records() {
	jq -es --arg type "$1" "map(select(.type == \$type) | ($2)) | length > 0 and all" >/dev/null
}

# The common manners of every program: help, version, wrong usage, a full disk.
manners() {
	local program=$1
	"$program" -h >manners.out
	grep -q "^usage: $program" manners.out
	"$program" --version >manners.out
	grep -qx "$program [0-9.]*" manners.out
	local status=0
	"$program" --no-such-option >/dev/null 2>manners.err || status=$?
	[ "$status" = 2 ]
	[ "$(wc -l <manners.err)" = 1 ]
	status=0
	"$program" -h >/dev/full 2>manners.err || status=$?
	[ "$status" = 1 ]
	grep -q "^$program: stdout: .*No space left" manners.err
}
