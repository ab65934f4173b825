#!/usr/bin/env bats
# Input that is cut, of another kind, or hostile, through every program that reads it: one line on stderr that says what and
# where, exit 1, nothing on stdout that looks complete, and no memory beyond what a record may have.
load helper

setup_file() {
	cd "$BATS_FILE_TMPDIR"
	prepare
	vqa-tokenize questions.json >questions
	vqa-featload features.lmdb <questions >loaded
	vqa-forward tiny <loaded >answers
	# What the readers of batches read; vqa-backward and vqa-step reach no training run from here, so for them it is headers only.
	/usr/bin/python3 - >batches <<-'END'
		import msgpack, struct, sys
		put = lambda r: sys.stdout.buffer.write(msgpack.packb(r))
		put({"type": "header", "vqa": 1, "by": "test", "answers": 3})
		for step in range(1, 5):
		    put({"type": "batch", "step": step, "questions": [1, 2], "logits": struct.pack("<6f", *range(6)), "target": [[0, 1, 1.0]]})
		put({"type": "end", "questions": 8})
	END
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	cp "$BATS_FILE_TMPDIR"/{questions,loaded,answers,batches,questions.json,labels.json,answers.json,tiny.safetensors,features.lmdb,features.tsv} .
}

# The readers of streams, and a good stream of each; the last two go no further than a header.
READERS=(vqa-featload vqa-forward vqa-loss vqa-submit vqa-dump vqa-backward vqa-step)

# program NAME: with its operands, on a pipe, so that no output is refused for being a file
program() {
	case $1 in
	vqa-featload) vqa-featload features.lmdb ;;
	vqa-forward) vqa-forward tiny ;;
	vqa-step) vqa-step -o run ;;
	vqa-backward) vqa-backward -g gradients ;;
	*) "$1" ;;
	esac
}

good_for() {
	case $1 in
	vqa-featload) echo questions ;;
	vqa-forward) echo loaded ;;
	vqa-submit | vqa-dump) echo answers ;;
	*) echo batches ;;
	esac
}

# incomplete FILE: nobody takes it for a whole stream, list or table
incomplete() {
	[ -s "$1" ] || return 0
	if vqa-dump <"$1" >/dev/null 2>&1 || { jq -se 'map(.type) | index("end")' <"$1" >/dev/null 2>&1; }; then
		echo "$1 looks complete"
		return 1
	fi
}

# refused NAME FILE REGEX: exit 1, one line that is REGEX, nothing that looks complete
refused() {
	local status=0
	timeout 30 bash -c "$(declare -f program); program $1" <"$2" >out 2>said || status=$?
	if [ "$status" != 1 ] || [ "$(wc -l <said)" != 1 ] || ! grep -Eqx "$1: $3" said; then
		printf '%s <%s: status %s, said:\n%s\nwanted: %s\n' "$1" "$2" "$status" "$(cat said)" "$1: $3"
		return 1
	fi
	incomplete out
	[ ! -e run ]
	[ ! -e gradients ]
}

# all_refuse FILE REGEX
all_refuse() {
	local name
	for name in "${READERS[@]}"; do
		refused "$name" "$1" "$2"
	done
}

# record 'PYTHON' [FILE]: the bytes of that expression, with msgpack's packb and what a header is
record() {
	/usr/bin/python3 -c '
import sys
from msgpack import packb
header = packb({"type": "header", "vqa": 1, "by": "test", "answers": 3})
end = packb({"type": "end", "questions": 0})
sys.stdout.buffer.write(eval(sys.argv[1]))' "$1" >"${2:-bad}"
}

@test "a stream that is cut at any place" {
	local name good size n
	for name in "${READERS[@]}"; do
		good=$(good_for "$name")
		size=$(stat -c %s "$good")
		for n in 1 2 9 $((size / 7)) $((size / 2)) $((size - 2)) $((size - 1)); do
			head -c "$n" "$good" >cut
			case $name in
			vqa-backward | vqa-step)
				[ "$n" -lt 20 ] || continue ;;
			esac
			refused "$name" cut 'stdin: stream truncated (inside record [0-9]+, after [0-9]+ bytes of it|after record [0-9]+, expected an end record)'
		done
	done
}

# Many places of a small one, for the program that only reads.
@test "a small stream that is cut all over" {
	local n fails
	for n in $(seq 1 3 $(($(stat -c %s batches) - 1))) $(($(stat -c %s batches) - 1)); do
		head -c "$n" batches >cut
		fails=0
		vqa-dump <cut >out 2>said || fails=$?
		[ "$fails" = 1 ]
		grep -Eqx 'vqa-dump: stdin: stream truncated (inside record [0-9]+, after [0-9]+ bytes of it|after record [0-9]+, expected an end record)' said
		run -1 grep '"type":"end"' out
	done
}

@test "no end record, something after it" {
	local name good
	for name in "${READERS[@]}"; do
		good=$(good_for "$name")
		case $name in
		vqa-backward | vqa-step) continue ;;
		esac
		/usr/bin/python3 "$ROOT/tests/edit.py" 'if r["type"] == "end": r = None' <"$good" >bad
		refused "$name" bad 'stdin: stream truncated after record [0-9]+, expected an end record'
		{ cat "$good" && printf x; } >bad
		refused "$name" bad 'stdin: record [0-9]+ follows the end record'
		cat "$good" "$good" >bad
		refused "$name" bad 'stdin: record [0-9]+ follows the end record'
		/usr/bin/python3 "$ROOT/tests/edit.py" 'if n == 2: put({"type": "header", "vqa": 1, "by": "x"})' <"$good" >bad
		refused "$name" bad 'stdin: record 2 \(header\): a second header'
	done
}

@test "empty, text, JSON, noise" {
	: >bad
	all_refuse bad 'stdin: stream truncated: it is empty, expected a header'
	echo 'hello' >bad
	all_refuse bad 'stdin: not a stream: its first byte is 0x68, expected a msgpack map'
	vqa-dump <questions >bad
	all_refuse bad 'stdin: not a stream: its first byte is 0x7b, expected a msgpack map'
	cp features.lmdb bad
	all_refuse bad 'stdin: not a stream: its first byte is 0x00, expected a msgpack map'
	local seed
	for seed in $(seq 12); do
		/usr/bin/python3 -c "
import random, sys
draw = random.Random($seed)
sys.stdout.buffer.write(bytes([draw.choice([0x81, 0x8f, 0xde, 0xdf])]) + draw.randbytes(5000))" >bad
		refused "${READERS[seed % ${#READERS[@]}]}" bad 'stdin: .+'
	done
	# Noise behind a good header.
	for seed in $(seq 12); do
		{
			record header
			cat bad
			/usr/bin/python3 -c "
import random, sys
sys.stdout.buffer.write(random.Random($seed).randbytes(5000))"
		} >noise
		refused "${READERS[seed % 5]}" noise '.+'
	done
}

@test "headers that are none" {
	record 'packb({"type": "question", "id": 1}) + end'
	all_refuse bad 'stdin: record 1 \(question\): expected a header first'
	record 'end'
	all_refuse bad 'stdin: record 1 \(end\): expected a header first'
	record 'packb({"type": "header", "vqa": 2, "by": "x"}) + end'
	all_refuse bad "stdin: record 1 \\(header\\): 'vqa' is 2, expected 1"
	record 'packb({"type": "header", "vqa": 2**64 - 1, "by": "x"}) + end'
	all_refuse bad "stdin: record 1 \\(header\\): 'vqa' is 18446744073709551615, expected 1"
	record 'packb({"type": "header", "vqa": "1", "by": "x"}) + end'
	all_refuse bad "stdin: record 1 \\(header\\): 'vqa' has another type, expected an integer"
	record 'packb({"type": "header", "by": "x"}) + end'
	all_refuse bad "stdin: record 1 \\(header\\): 'vqa' is missing, expected an integer"
	record 'packb({"type": "header", "vqa": 1}) + end'
	all_refuse bad "stdin: record 1 \\(header\\): 'by' is missing, expected a string"
	record 'packb({"type": "header", "vqa": 1, "by": b"x"}) + end'
	all_refuse bad "stdin: record 1 \\(header\\): 'by' has another type, expected a string"
	record 'packb({"type": "header", "vqa": 1, "by": "a\0"}) + end'
	all_refuse bad "stdin: record 1 \\(header\\): 'by' is not UTF-8 text"
	record 'packb({"vqa": 1}) + end'
	all_refuse bad "stdin: record 1: 'type' is missing, expected a string"
	record 'packb({"type": 1}) + end'
	all_refuse bad "stdin: record 1: 'type' is missing, expected a string"
	record 'packb({"type": "header", "vqa": 1, "by": "x", "a": 0})[:-1] + b"\xc1"'
	all_refuse bad 'stdin: record 1: byte 25 is 0xc1, which is no msgpack'
}

# in_record EXPRESSION REGEX: the five that read beyond the header refuse a second record of these bytes; the others refuse them
# as the first.
in_record() {
	local name
	record "header + $1"
	for name in vqa-featload vqa-forward vqa-loss vqa-submit vqa-dump; do
		refused "$name" bad "stdin: record 2: $2"
	done
	record "$1"
	for name in vqa-backward vqa-step; do
		refused $name bad "stdin: record 1: $2"
	done
}

# Memory is asked for as bytes arrive, never because a length says so.
@test "lengths that promise too much are refused at once, in little memory" {
	[ -n "$VQA_SANITIZED" ] || ulimit -v 1000000
	local long='longer than 67108864 bytes, the most a record may have' many='more than 1048576 values, the most a record may hold'
	in_record 'b"\x82\xa4type\xa1x\xa1b\xc6\xff\xff\xff\xff" + bytes(9)' "$long"
	in_record 'b"\x82\xa4type\xa1x\xa1b\xdb\xff\xff\xff\xff" + bytes(9)' "$long"
	in_record 'b"\x82\xa4type\xa1x\xa1b\xc9\xff\xff\xff\xff\1" + bytes(9)' "$long"
	in_record 'b"\x82\xa4type\xa1x\xa1b\xc6\x04\0\0\0" + bytes(9)' "$long"
	in_record 'b"\x82\xa4type\xa1x\xa1b\xdd\xff\xff\xff\xff" + bytes(9)' "$many"
	in_record 'b"\x82\xa4type\xa1x\xa1b\xdf\xff\xff\xff\xff" + bytes(9)' "$many"
	in_record 'b"\xdf\xff\xff\xff\xff" + bytes(9)' "$many"
	in_record 'b"\x82\xa4type\xa1x\xa1b\xdd\0\x10\0\0" + bytes(1 << 20)' "$many"
	in_record 'b"\x82\xa4type\xa1x\xa1b" + 1000 * b"\x91"' 'nested deeper than 16 levels'
	in_record 'b"\x82\xa4type\xa1x\xa1b" + 1000 * b"\x81\xa1a"' 'nested deeper than 16 levels'
	# A promise that is small enough, and not kept.
	record 'header + b"\x82\xa4type\xa1x\xa1b\xc6\x03\xff\0\0" + bytes(99)'
	for name in vqa-featload vqa-forward vqa-loss vqa-submit vqa-dump; do
		refused "$name" bad "stdin: stream truncated inside record 2, after 114 bytes of it"
	done
}

@test "a key that is there twice" {
	in_record 'b"\x83\xa4type\xa1x\xa1a\1\xa1a\2"' "key 'a' is there twice"
	in_record 'b"\x83\xa4type\xa1x\xa1a\1\xa4type\xa1y"' "key 'type' is there twice"
	in_record 'b"\x82\xa4type\xa8question\xa5label\x82\xa3red\1\xa3red\0"' "key 'red' is there twice"
	in_record 'b"\x82\xa4type\xa1x\xa1a\x91\x82\xa0\1\xa0\0"' "key '' is there twice"
}

# wrong NAME STREAM FILTER REGEX: NAME refuses its good stream with each record changed by edit.py's FILTER.
wrong() {
	/usr/bin/python3 "$ROOT/tests/edit.py" "$2" <"$(good_for "$1")" >bad
	refused "$1" bad "stdin: $3"
}

@test "fields of another type, or beyond their bounds" {
	local name q='if r["type"] == "question": ' i='if r["type"] == "image": '
	for name in vqa-featload vqa-forward; do
		wrong $name "$q del r['id']" "record [23] \\(question\\): 'id' is missing, expected an integer"
		wrong $name "$q r['id'] = 'x'" "record [23] \\(question\\): 'id' has another type, expected an integer"
		wrong $name "$q r['id'] = 2**63" "record [23] \\(question\\): 'id' is 9223372036854775808, expected -9223372036854775808 to 9223372036854775807"
		wrong $name "$q r['image'] = 1" "record [23] \\(question\\): 'image' has another type, expected a string"
		wrong $name "$q r['image'] = 'a\\0'" "record [23] \\(question\\): 'image' is not UTF-8 text"
		wrong $name "$q r['tokens'] = 'ab'" "record [23] \\(question\\): 'tokens' has another type, expected int32 values \\(bin\\)"
		wrong $name "$q r['tokens'] = []" "record [23] \\(question\\): 'tokens' has 0 tokens, expected 1 to 512"
		wrong $name "$q r['tokens'] = [101, -1]" "record [23] \\(question\\): 'tokens' has an element 1 that is no integer from 0 to 2147483647"
		wrong $name "$q r['tokens'] = [101, 1.5]" "record [23] \\(question\\): 'tokens' has an element 1 that is no integer from 0 to 2147483647"
		wrong $name "$q r['tokens'] = b''" "record [23] \\(question\\): 'tokens' has 0 tokens, expected 1 to 512"
		wrong $name "$q r['tokens'] = bytes(7)" "record [23] \\(question\\): 'tokens' has 7 bytes, expected a multiple of 4"
		wrong $name "$q r['tokens'] = bytes(2052)" "record [23] \\(question\\): 'tokens' has 513 tokens, expected 1 to 512"
		wrong $name "$q r['label'] = 'red'" "record [23] \\(question\\): 'label' has another type, expected a map from answer to score"
		wrong $name "$q r['label'] = {'red': 'much'}" "record [23] \\(question\\): 'label' of answer 'red' is no number from 0 to 1"
		wrong $name "$q r['label'] = {'red': 1.5}" "record [23] \\(question\\): 'label' of answer 'red' is no number from 0 to 1"
		wrong $name "$q r['label'] = {'red': float('nan')}" "record [23] \\(question\\): 'label' of answer 'red' is no number from 0 to 1"
		wrong $name "$q r['label'] = {1: 1}" "record [23] \\(question\\): 'label' has a key that is no string, expected an answer"
	done
	wrong vqa-featload 'if r["type"] == "end": r = {"type": "end"}' "record 10 \\(end\\): 'questions' is missing, expected an integer"
	wrong vqa-featload 'if r["type"] == "end": r["questions"] = -1' "record 10 \\(end\\): 'questions' is -1, expected 0 to 9223372036854775807"
	wrong vqa-forward "$q r['tokens'] = floats(21 * [0])" "record 3 \\(question\\): question 0 has 21 tokens, but the checkpoint takes at most 20"
	wrong vqa-forward "$q r['tokens'] = b'\\xff' * 4" "record 3 \\(question\\): question 0: token 0 is -1, expected 0 to 30521, the vocabulary's"
	wrong vqa-forward "$i r['id'] = 1" "record 2 \\(image\\): 'id' has another type, expected a string"
	wrong vqa-forward "$i r['n'] = 0" "record 2 \\(image\\): 'n' is 0, expected 1 to 1024"
	wrong vqa-forward "$i r['n'] = 1025" "record 2 \\(image\\): 'n' is 1025, expected 1 to 1024"
	wrong vqa-forward "$i r['n'] = 35" "record 2 \\(image\\): 'boxes' has 144 values, expected 4 for each of 35 regions"
	wrong vqa-forward "$i r['boxes'] = floats([2] + 143 * [0])" "record 2 \\(image\\): image '0': box of region 0: column 0 is 2, expected 0 to 1"
	wrong vqa-forward "$i r['boxes'] = floats(143 * [0] + [float('nan')])" "record 2 \\(image\\): image '0': box of region 35: column 3 is nan, expected 0 to 1"
	wrong vqa-forward "$i del r['boxes']" "record 2 \\(image\\): 'boxes' is missing, expected float32 values \\(bin\\)"
	wrong vqa-forward "$i r['features'] = 'x'" "record 2 \\(image\\): 'features' has another type, expected float values \\(bin\\)"
	wrong vqa-forward "$i del r['features']" "record 2 \\(image\\): 'features' is missing, expected float values \\(bin\\)"
	wrong vqa-forward "$i r['features'] = b''" "record 2 \\(image\\): image '0': 'features' has 0 bytes, expected a multiple of 144 for 36 regions"
	wrong vqa-forward "$i r['features'] = r['features'][:-1]" "record 2 \\(image\\): image '0': 'features' has 51839 bytes, expected a multiple of 144 for 36 regions"
	wrong vqa-forward "$i r['features'] = r['features'][:-144]" "record 2 \\(image\\): image '0' has 359 features a region, but the checkpoint takes 360"
	wrong vqa-forward "$i r['features'] = r['features'][:-4] + floats([float('inf')])" \
		"record 2 \\(image\\): image '0': feature of region 35, column 359 is inf, expected a finite number"
	wrong vqa-forward "$i r['dtype'] = {'features': 'f16'}" "record 2 \\(image\\): image '0'.*"
	wrong vqa-forward "$i r['dtype'] = {'features': 'f64'}" "record 2 \\(image\\): 'dtype' of features is neither f32 nor f16"
	wrong vqa-forward "$i r['dtype'] = 'f16'" "record 2 \\(image\\): 'dtype' has another type, expected a map from field to type"
	wrong vqa-forward "$i r['id'] = 'other'" "record 3 \\(question\\): question 0 asks about image '0', but the last image is 'other'"
	wrong vqa-forward 'if n == 1: r["max_tokens"] = 21' "record 1 \\(header\\): 'max_tokens' is 21, but tiny.safetensors takes at most 20"
	wrong vqa-forward 'if n == 1: r["objects"] = 37' "record 1 \\(header\\): 'objects' is 37, but tiny.safetensors takes at most 36"
	wrong vqa-forward 'if n == 1: r["features"] = 2048' "record 1 \\(header\\): 'features' is 2048, but tiny.safetensors takes 360"
	wrong vqa-forward 'if n == 1: r["vocab"] = 1' "record 1 \\(header\\): 'vocab' has another type, expected a string"
}

@test "a store whose bytes are damaged: never a crash, never other features" {
	local seed status name
	# The picture's size is under no checksum.
	features_of() {
		vqa-dump | sed -n '/"type":"image"/s/"width":[0-9]*,"height":[0-9]*,//p'
	}
	# Of more than one level, and values of both kinds.
	/usr/bin/python3 - <<-'END'
		import base64, json, struct
		e = lambda b: base64.b64encode(b).decode()
		def row(i, n):
		    return '\t'.join(['im%04d' % i, '10', '10', e(bytes(8)), e(bytes(4)), e(bytes(8)), e(bytes(4)), '1', e(struct.pack('<4f', 0, 0, 5, 5)),
		                      e(struct.pack('<%df' % n, *range(n)))])
		for name, n in ('many', 40), ('big', 4000):
		    with open(name + '.tsv', 'w') as f:
		        for i in range(300 if n == 40 else 20):
		            print(row(i, n), file=f)
		json.dump([{'question_id': i, 'img_id': 'im%04d' % i, 'sent': ''} for i in range(300)], open('many.json', 'w'))
		json.dump([{'question_id': i, 'img_id': 'im%04d' % i, 'sent': ''} for i in range(20)], open('big.json', 'w'))
	END
	for name in many big; do
		vqa-featpack $name.tsv $name.lmdb
		vqa-tokenize $name.json >$name.questions
		vqa-featload $name.lmdb <$name.questions >$name.want
	done
	/usr/bin/python3 - <<-'END'
		import random, struct
		for seed in range(60):
		    draw, b = random.Random(seed), bytearray(open(('many', 'big')[seed % 2] + '.lmdb', 'rb').read())
		    for _ in range(draw.randrange(1, 6)):
		        page = 4096 * draw.choice([0, 1, 2, draw.randrange(len(b) // 4096)])
		        b[page + draw.randrange(draw.choice([64, 200, 4096]))] = draw.choice([0, 1, 255, draw.randrange(256)])
		    open('damaged.%d' % seed, 'wb').write(b)
		# In each page of a tree, a child, a value or nodes that lie beyond the page or the file.
		u16 = lambda b, at: struct.unpack_from('<H', b, at)[0]
		for name in 'many', 'big':
		    whole = open(name + '.lmdb', 'rb').read()
		    for page in range(2 * 4096, len(whole), 4096):
		        b, flags = bytearray(whole), u16(whole, page + 10)
		        if flags in (1, 2) and whole[page:page + 8] == struct.pack('<Q', page // 4096):
		            node = page + u16(whole, page + 16 + 2 * ((u16(whole, page + 12) - 16) // 2 - 1))
		            if flags == 1:
		                struct.pack_into('<I', b, node, 0xffffff)
		            elif u16(whole, node + 4) & 1:
		                struct.pack_into('<Q', b, node + 8 + u16(whole, node + 6), 0xffffff)
		            else:
		                n = (u16(whole, page + 12) - 16) // 2
		                struct.pack_into('<%dH' % n, b, page + 16, *(n * [0xfff0]))
		            seed += 1
		            open('damaged.%d' % (2 * seed + (name == 'big')), 'wb').write(b)
	END
	[ -e damaged.120 ] && [ "$(find . -name 'damaged.*' | wc -l)" -gt 61 ]
	for seed in $(find . -name 'damaged.*' | sed 's/.*\.//'); do
		name=many
		[ $((seed % 2)) = 0 ] || name=big
		status=0
		timeout 20 vqa-featload damaged.$seed <$name.questions >out 2>said || status=$?
		if [ "$status" = 0 ]; then
			cmp <(features_of <out) <(features_of <$name.want)
		else
			[ "$status" = 1 ] && [ "$(wc -l <said)" = 1 ] && grep -Eq "^vqa-featload: (damaged|stdin)" said || {
				echo "damaged.$seed: status $status, $(cat said)"
				return 1
			}
		fi
	done
}

@test "a store that the checkpoint was not made for" {
	vqa-featpack --source other features.tsv other.lmdb
	vqa-featload other.lmdb <questions >bad
	fails_with 1 "vqa-forward: stdin: record 1 (header): 'feature_source' is 'other', but tiny.safetensors has 'features.tsv'" vqa-forward tiny <bad
	fails_with 1 "vqa-featload: 'other.lmdb' has 360 features a region of 'other', but 'features.lmdb' has 360 of 'features.tsv'" \
		vqa-featload features.lmdb other.lmdb <questions
}

@test "tables without an end of line" {
	[ -z "$VQA_SANITIZED" ] || skip "ASan takes memory of its own"
	fails_with 1 "vqa-featpack: /dev/zero:1: a line of over 268435456 bytes" timeout 60 vqa-featpack /dev/zero store
	[ -z "$(find . -name 'store*')" ]
	fails_with 1 "vqa-featload: /dev/zero: a line of over 268435456 bytes" timeout 60 vqa-featload /dev/zero <questions
	fails_with 1 "vqa-gridfeat: stdin:1: a line of over 4096 bytes" vqa-gridfeat - </dev/zero
	printf '0.png' >names
	fails_with 1 "vqa-gridfeat: stdin:1: no path with a newline after it" vqa-gridfeat - <names
}

@test "PNGs that are cut, changed, or claim too much" {
	local png=$GOLDEN/easy-vqa/images/0.png size n
	size=$(stat -c %s "$png")
	for n in 0 1 7 8 20 33 40 $((size / 2)) $((size - 20)) $((size - 13)); do
		head -c "$n" "$png" >cut.png
		run -1 vqa-gridfeat cut.png
		[[ $output == 'vqa-gridfeat: cut.png: not a'*' PNG: '* ]] || return 1
		[ "${#lines[@]}" = 1 ]
	done
	claims() {
		/usr/bin/python3 - "$@" <<-'END'
			import struct, sys, zlib
			chunk = lambda t, d: struct.pack('>I', len(d)) + t + d + struct.pack('>I', zlib.crc32(t + d))
			open('x.png', 'wb').write(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', struct.pack('>IIBBBBB', int(sys.argv[1]), int(sys.argv[2]), 8, 2, 0, 0, 0)) +
			                          chunk(b'IDAT', zlib.compress(bytes(1000))) + chunk(b'IEND', b''))
		END
	}
	[ -n "$VQA_SANITIZED" ] || ulimit -v 1000000
	claims 100000 100000
	fails_with 1 "vqa-gridfeat: x.png: a picture of 100000 x 100000 pixels, expected at most 16384 a side and 67108864 in all" vqa-gridfeat x.png
	claims 16384 16384
	fails_with 1 "vqa-gridfeat: x.png: a picture of 16384 x 16384 pixels, expected at most 16384 a side and 67108864 in all" vqa-gridfeat x.png
	claims 8192 8192
	run -1 vqa-gridfeat x.png
	[[ $output == 'vqa-gridfeat: x.png: not a whole PNG: '* ]] || return 1
	claims 0 5
	run -1 vqa-gridfeat x.png
	[[ $output == 'vqa-gridfeat: x.png: not a PNG: '* ]] || return 1
}

@test "JSON that breaks off at any byte" {
	local n size
	size=$(stat -c %s answers.json)
	for n in $(seq 1 7 $((size - 3))); do
		head -c "$n" answers.json >cut.json
		run -1 ckpt-init -L 1,1,1 -H 8 -n 2 -F 8 -f 5 -A cut.json new.safetensors
		[[ $output == 'ckpt-init: cut.json: line '* ]] || return 1
		[ "${#lines[@]}" = 1 ]
		[ ! -e new.safetensors ]
	done
	jq -c 'map({question_id, answer: (.label | keys[0])})' labels.json >results.json
	vqa-score -l labels.json results.json >/dev/null
	size=$(stat -c %s results.json)
	for n in $(seq 0 13 $((size - 2))); do
		head -c "$n" results.json >cut.json
		run -1 vqa-score -l labels.json cut.json
		[[ $output == "vqa-score: cut.json: breaks off at byte $n, "* ]] || return 1
		head -c "$n" labels.json >cut.json
		run -1 vqa-score -l cut.json results.json
		[[ $output == "vqa-score: cut.json: breaks off at byte $n, "* ]] || return 1
		run -1 vqa-submit -q cut.json <answers
		[[ $output == "vqa-submit: cut.json: breaks off at byte $n, "* ]] || return 1
	done
}

@test "a checkpoint that is cut at any place" {
	local size n
	size=$(stat -c %s tiny.safetensors)
	for n in 0 7 8 9 1000 $((size / 3)) $((size - 4)) $((size - 1)); do
		head -c "$n" tiny.safetensors >cut.safetensors
		run -1 vqa-forward cut <loaded
		[[ $output == 'vqa-forward: cut.safetensors: '* ]] || return 1
		[ "${#lines[@]}" = 1 ]
	done
	{ cat tiny.safetensors && printf x; } >more.safetensors
	fails_with 1 "vqa-forward: more.safetensors: 1 bytes at the end belong to no tensor" vqa-forward more <loaded
}

@test "weights that are no numbers give no answers" {
	/usr/bin/python3 - <<-'END'
		import json, struct
		data = bytearray(open('tiny.safetensors', 'rb').read())
		n = struct.unpack('<Q', data[:8])[0]
		at = 8 + n + json.loads(data[8:8 + n])['logit_fc.3.bias']['data_offsets'][0]
		data[at:at + 4 * 13] = struct.pack('<13f', *(13 * [float('nan')]))
		open('nan.safetensors', 'wb').write(data)
	END
	fails_with 1 "vqa-forward: question 0: its logits are not finite: the checkpoint's weights are broken" vqa-forward nan <loaded
	incomplete fails_with.out
}

@test "a full disk: every program's output" {
	full() {
		fails_with 1 "$1: stdout: cannot write: No space left on device" bash -c "$2 >/dev/full"
	}
	jq -c 'map({question_id, answer: (.label | keys[0])})' labels.json >results.json
	full vqa-tokenize 'vqa-tokenize questions.json'
	full vqa-featload 'vqa-featload features.lmdb <questions'
	full vqa-forward 'vqa-forward tiny <loaded'
	full vqa-loss 'vqa-loss <batches'
	full vqa-dump 'vqa-dump <answers'
	full vqa-submit 'vqa-submit <answers'
	full vqa-score 'vqa-score -l labels.json results.json'
	full vqa-score 'vqa-score --json -l labels.json results.json'
	full ckpt-info 'ckpt-info tiny'
	full ckpt-info 'ckpt-info --json tiny'
	full vqa-gridfeat "vqa-gridfeat $GOLDEN/easy-vqa/images/0.png"
	# More than a buffer of it.
	/usr/bin/python3 - >many <<-'END'
		import msgpack, sys
		put = lambda r: sys.stdout.buffer.write(msgpack.packb(r))
		put({"type": "header", "vqa": 1, "by": "test"})
		for i in range(5000):
		    put({"type": "answer", "id": i, "answer": "net"})
		put({"type": "end", "questions": 5000})
	END
	full vqa-submit 'vqa-submit <many'
	full vqa-dump 'vqa-dump <many'
	printf 'results.json\n%.0s' $(seq 100) >names
	full vqa-score "vqa-score --json -l labels.json $(tr '\n' ' ' <names)"
}

# SIGXFSZ apart, a limit on a file's size is a full disk: EFBIG instead of ENOSPC.
@test "a full disk: every program's files; what was there stays" {
	limited() {
		fails_with 1 "$1: $2" bash -c "trap '' XFSZ; ulimit -f 20; exec $3"
		[ "$(cat old)" = old ]
		[ -z "$(find . -name 'old?*')" ]
	}
	echo old >old
	limited ckpt-init "old: cannot write: File too large" "ckpt-init -L 1,1,1 -H 8 -n 2 -F 8 -f 5 -A answers.json old"
	limited ckpt-import "old: cannot write: File too large" "ckpt-import -n 4 $GOLDEN/sparse/weights.safetensors old"
	# What LMDB makes of it.
	limited vqa-featpack "oldest: cannot write: Input/output error" "vqa-featpack features.tsv oldest"
	limited vqa-featload "a temporary file: cannot write: File too large" "vqa-featload <(cat features.tsv) <questions"
}

# A reader that has enough ends the others, and nobody makes words about it.
@test "PROGRAM | head -c 1 dies in silence" {
	quiet() {
		local status
		bash -c "$2" 2>said | head -c 1 >/dev/null
		status=("${PIPESTATUS[@]}")
		if [ "${status[0]}" != 141 ] || [ -s said ]; then
			echo "$1: status ${status[0]}, said $(cat said)"
			return 1
		fi
	}
	jq -n '[range(20000) | {question_id: ., img_id: (. % 4), sent: "is there a red shape in the image?"}]' >many.json
	vqa-tokenize many.json >many
	vqa-featload features.lmdb < <(vqa-tokenize --limit-images 1 many.json) >about-one
	quiet vqa-tokenize 'exec vqa-tokenize many.json'
	quiet vqa-featload 'exec vqa-featload features.lmdb <many'
	quiet vqa-forward 'exec vqa-forward -b 16 -a all tiny <about-one'
	quiet vqa-dump 'exec vqa-dump <many'
	quiet vqa-dump 'vqa-dump <many >lines && exec vqa-dump -r <lines'
	quiet vqa-gridfeat "exec vqa-gridfeat $(printf "$GOLDEN/easy-vqa/images/%s.png " 0 1 2 3 0 1 2 3)"
}
