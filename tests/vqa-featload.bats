#!/usr/bin/env bats
load helper

setup() {
	cd "$BATS_TEST_TMPDIR"
	prepare
	vqa-tokenize questions.json >questions
}

@test "manners" {
	manners vqa-featload
}

@test "an image comes once before the questions about it" {
	vqa-featload features.lmdb <questions | vqa-dump | jq -r '.type' | tr '\n' ' ' >types
	[ "$(cat types)" = 'header image question question image question question image question question image question question end ' ]
}

@test "a table gives what its store gives, also through a pipe" {
	images() {
		vqa-dump | jq -c 'select(.type != "header")'
	}
	vqa-featload features.lmdb <questions | images >a
	vqa-featload features.tsv <questions | images | cmp - a
	vqa-featload <(cat features.tsv) <questions | images | cmp - a
}

@test "several sources are looked up in turn" {
	head -n 2 features.tsv >first.tsv
	tail -n 2 features.tsv >second.tsv
	vqa-featload first.tsv second.tsv <questions >several
	vqa-featload features.tsv <questions | cmp - several
}

@test "an image that the store lacks" {
	vqa-tokenize -q 'what?' -i 99 >one
	fails_with 1 "vqa-featload: stdin: record 2 (question): question 0 asks about image '99', which 'features.lmdb' lacks" \
		vqa-featload features.lmdb <one
}

@test "a store that is cut off, damaged, or none" {
	head -c 30000 features.lmdb >cut.lmdb
	run -1 vqa-featload cut.lmdb <questions
	[[ $output == 'vqa-featload: cut.lmdb: cut off: 30000 bytes, expected '* ]]
	for n in 0 1 100 4096 8191 8192 12288; do
		head -c $n features.lmdb >cut.lmdb
		run -1 vqa-featload cut.lmdb <questions
	done
	/usr/bin/python3 -c '
b = bytearray(open("features.lmdb", "rb").read())
b[len(b) - 20000] ^= 255
open("damaged.lmdb", "wb").write(b)'
	fails_with 1 "vqa-featload: damaged.lmdb: image '3': its checksum does not match" vqa-featload damaged.lmdb <questions
	fails_with 1 "vqa-featload: questions.json:1: no img_id of 1 to 511 bytes before a tab" vqa-featload questions.json <questions
	fails_with 1 "vqa-featload: none: cannot open: No such file or directory" vqa-featload none <questions
}

@test "a stream that is cut off" {
	head -c 300 questions >cut
	run -1 vqa-featload features.lmdb <cut
	[[ $output == *'vqa-featload: stdin: stream truncated inside record 3, after '* ]]
}

@test "a full disk" {
	fails_with 1 'vqa-featload: stdout: cannot write: No space left on device' bash -c 'vqa-featload features.lmdb <questions >/dev/full'
}

@test "the header's most regions are of any row and any source" {
	/usr/bin/python3 - <<-'END'
		import base64, struct
		def b64(kind, *x):
		    return base64.b64encode(struct.pack("<%d%s" % (len(x), kind), *x)).decode()
		def row(name, n):
		    z = [0] * n
		    return "\t".join([name, "10", "10", b64("q", *z), b64("f", *z), b64("q", *z), b64("f", *z), str(n), b64("f", *(4 * z)), b64("f", *z)]) + "\n"
		open("a.tsv", "w").write(row("1", 2) + row("2", 5))
		open("b.tsv", "w").write(row("3", 1) + row("4", 7))
	END
	objects() {
		vqa-featload "$@" <questions 2>said | vqa-dump 2>also | sed -n 1p | jq .objects
	}
	vqa-tokenize -q what -i 2 >questions
	[ "$(objects a.tsv)" = 5 ]
	[ "$(objects a.tsv b.tsv)" = 7 ]
	vqa-featpack a.tsv a.lmdb
	[ "$(objects a.lmdb)" = 5 ]
}

@test "an image in the stream does not hide the next one" {
	vqa-featload features.lmdb <questions | vqa-dump >loaded
	grep -m 1 '"type":"image"' loaded | sed 's/"id":"[^"]*"/"id":"other"/' >other
	first=$(grep -m 1 '"type":"question"' loaded)
	{ sed -n 1p loaded; echo "$first"; cat other; echo "$first"; echo '{"type":"end","questions":2}'; } | vqa-dump -r >mixed
	[ "$(vqa-featload features.lmdb <mixed | vqa-dump | jq -r .type | tr '\n' ' ')" = 'header image question image image question end ' ]
}

@test "--skip-bad leaves out bad rows, and the questions about what is not there" {
	sed '2s/\t36\t/\t37\t/' features.tsv >mixed.tsv
	echo rubbish >>mixed.tsv
	sed -n 1p features.tsv >>mixed.tsv
	head -c 1000 features.tsv >>mixed.tsv
	fails_with 1 "vqa-featload: mixed.tsv:5: no img_id of 1 to 511 bytes before a tab" vqa-featload mixed.tsv <questions
	jq 'map(select(.img_id != 1))' questions.json >but-1.json
	vqa-tokenize but-1.json | vqa-featload features.tsv | vqa-dump | sed 1d >want
	vqa-featload --skip-bad mixed.tsv <questions 2>said | vqa-dump | sed 1d | diff want -
	lost=$(jq '[.[] | select(.img_id == 1).question_id]' questions.json)
	[ "$(jq length <<<"$lost")" -ge 1 ]
	sed -n 1,4p said | diff - <(cat <<-'END'
		vqa-featload: left out: mixed.tsv:5: no img_id of 1 to 511 bytes before a tab
		vqa-featload: left out: mixed.tsv:7: the last line breaks off without a newline
		vqa-featload: left out: mixed.tsv:6: image '0' is there twice, first in line 1
		vqa-featload: 4 rows left out, the first of them above
	END
	)
	grep -q "^vqa-featload: left out: stdin: record [0-9]* (question): question $(jq '.[0]' <<<"$lost") asks about image '1', which 'mixed.tsv' lacks$" said
	[ "$(tail -n 1 said)" = "vqa-featload: $(jq length <<<"$lost") questions left out" ]
}

@test "--skip-bad and a store that lacks an image, or has it damaged" {
	sed 2d features.tsv | vqa-featpack - some.lmdb
	run -1 vqa-featload some.lmdb <questions
	jq 'map(select(.img_id != 1))' questions.json >but-1.json
	vqa-tokenize but-1.json | vqa-featload some.lmdb | vqa-dump | sed 1d >want
	vqa-featload --skip-bad some.lmdb <questions 2>said | vqa-dump | sed 1d | diff want -
	[ "$(tail -n 1 said)" = "vqa-featload: $(jq 'map(select(.img_id == 1)) | length' questions.json) questions left out" ]
	vqa-featload --skip-bad features.lmdb <questions 2>said >/dev/null
	[ ! -s said ]
}

# damage WHERE VALUE: damaged.lmdb is the store with the byte at WHERE of image 3's value, counted from its head, set to VALUE.
damage() {
	/usr/bin/python3 - "$@" <<-'END'
		import struct, sys
		b = bytearray(open("features.lmdb", "rb").read())
		head = [i for i in range(0, len(b) - 32, 4096) if b[i + 16:i + 28] == struct.pack("<3I", 36, 360, 0)]
		value = head[-1] + 16 + int(sys.argv[1])
		assert len(head) == 4 and b[value] != int(sys.argv[2])
		b[value] = int(sys.argv[2])
		open("damaged.lmdb", "wb").write(b)
	END
}

@test "a store's checksum takes in all of an image" {
	for at in 12 16 20 24 31 32 607 608 5000; do
		damage $at 77
		fails_with 1 "vqa-featload: damaged.lmdb: image '3': its checksum does not match" vqa-featload damaged.lmdb <questions
	done
	damage 0 77
	fails_with 1 "vqa-featload: damaged.lmdb: image '3': 52448 bytes do not hold what its head says" vqa-featload damaged.lmdb <questions
	/usr/bin/python3 -c '
b = open("features.lmdb", "rb").read()
assert b.count(b"\"images\":4") == 1
open("damaged.lmdb", "wb").write(b.replace(b"\"images\":4", b"\"images\":3"))
open("future.lmdb", "wb").write(b.replace(b"\"version\":2", b"\"version\":9"))'
	fails_with 1 "vqa-featload: damaged.lmdb: damaged: 4 images, but it says 3" vqa-featload damaged.lmdb <questions
	fails_with 1 "vqa-featload: future.lmdb: a store of version 9, expected at most 2" vqa-featload future.lmdb <questions
}

@test "a store of version 1 is read" {
	vqa-tokenize -q what -i 1 >one
	vqa-featload "$ROOT/tests/fuzz/corpus/store/good" <one | vqa-dump | records image '.id == "1" and .features.f16 != null'
}
