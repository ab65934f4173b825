#!/usr/bin/env bats
load helper

setup() {
	cd "$BATS_TEST_TMPDIR"
	vqa-gridfeat "$GOLDEN"/easy-vqa/images/*.png >features.tsv
}

# bad COLUMN EXPRESSION: bad.tsv is the first row with that column changed; EXPRESSION is Python over the bytes b.
bad() {
	/usr/bin/python3 - "$@" <<-'END'
		import base64, struct, sys
		c = open('features.tsv').readline().rstrip('\n').split('\t')
		b = bytearray(base64.b64decode(c[int(sys.argv[1])]))
		exec(sys.argv[2])
		c[int(sys.argv[1])] = base64.b64encode(b).decode()
		open('bad.tsv', 'w').write('\t'.join(c) + '\n')
	END
}

refuses() {
	fails_with 1 "vqa-featpack: $1" vqa-featpack "$2" store
	[ -z "$(find . -name 'store*')" ]
}

@test "manners" {
	manners vqa-featpack
}

@test "a store of one file, the same from a pipe" {
	vqa-featpack --source x features.tsv store
	vqa-featpack --source x - piped <features.tsv
	[ "$(find . -name 'store*' | wc -l)" = 1 ]
	vqa-tokenize "$GOLDEN/easy-vqa/questions.json" >questions
	vqa-featload store <questions >a
	vqa-featload piped <questions | cmp - a
}

@test "--f16 stores halves, which are passed on as they are" {
	vqa-featpack --f16 features.tsv store
	vqa-tokenize -q 'what?' -i 2 | vqa-featload store | vqa-dump >half
	vqa-tokenize -q 'what?' -i 2 | vqa-featload features.tsv | vqa-dump >whole
	records image '.dtype.features == "f16"' <half
	paste <(jq -c 'select(.type == "image").features.f16[]' half) <(jq -c 'select(.type == "image").features.f32[]' whole) |
		awk '{ d = $1 - $2; if (d * d > ($2 * $2 + 1e-6) * 1e-6) exit 1 }'
}

@test "rows that are wrong are named: file, line, byte, image, column" {
	cut -f 1-9 features.tsv >bad.tsv
	refuses "bad.tsv:1: 9 columns, expected 10" bad.tsv
	sed '1s/\t64\t/\tx\t/' features.tsv >bad.tsv
	refuses "bad.tsv:1: byte 2, image '0', img_h: 'x' is no whole number from 1 to 16777216" bad.tsv
	sed '2s/\t36\t/\t37\t/' features.tsv >bad.tsv
	refuses "bad.tsv:2: byte 8, image '1', objects_id: 384 characters of base64, expected 396 for 296 bytes" bad.tsv
	bad 9 'b[4:8] = struct.pack("<f", float("nan"))'
	refuses "bad.tsv:1: byte 1940, image '0', features: region 0, number 1 is nan, expected a finite number" bad.tsv
	bad 8 'b[4:8] = struct.pack("<f", 70)'
	refuses "bad.tsv:1: byte 1167, image '0', boxes: box 0 lies at 1.09375 of the picture's height, expected 0 to 1" bad.tsv
	awk -F '\t' -v OFS='\t' 'NR == 1 { $9 = "!" substr($9, 2); print }' features.tsv >bad.tsv
	refuses "bad.tsv:1: byte 1167, image '0', boxes: character 0x21 is no base64" bad.tsv
}

@test "an image twice, a table that breaks off, no rows, no file" {
	cat features.tsv features.tsv >bad.tsv
	refuses "bad.tsv:5: image '0' is there twice" bad.tsv
	head -c 1000 features.tsv >bad.tsv
	refuses "bad.tsv:1: the last line breaks off without a newline" bad.tsv
	: >bad.tsv
	refuses "store: no rows to pack" bad.tsv
	refuses "none: cannot open: No such file or directory" none
}

@test "a store that is there stays when packing fails" {
	vqa-featpack features.tsv store
	cp store before
	cut -f 1-9 features.tsv >bad.tsv
	run -1 vqa-featpack bad.tsv store
	cmp store before
}

@test "a device is not replaced" {
	fails_with 1 'vqa-featpack: /dev/full: is there and no regular file' vqa-featpack features.tsv /dev/full
	[ -c /dev/full ]
}

@test "a full disk" {
	bash -c 'trap "" XFSZ; ulimit -f 100; vqa-featpack features.tsv store' 2>said && return 1
	[ "$(wc -l <said)" = 1 ]
	[ -z "$(find . -name 'store*')" ]
}

@test "what is too large for 16 bits is refused, not made infinite" {
	/usr/bin/python3 - <<-'END' >large.tsv
		import base64, struct
		values = [1.0, 65504.0, -65520.0]
		def b64(kind, *x):
		    return base64.b64encode(struct.pack("<%d%s" % (len(x), kind), *x)).decode()
		print("\t".join(["a", "10", "10", b64("q", 0), b64("f", 0), b64("q", 0), b64("f", 0), "1", b64("f", 0, 0, 5, 5), b64("f", *values)]))
	END
	vqa-featpack large.tsv large.lmdb
	fails_with 1 "vqa-featpack: large.tsv:1: feature of region 0, column 2 is -65520, expected at most 65504 with --f16" \
		vqa-featpack --f16 large.tsv half.lmdb
	[ ! -e half.lmdb ]
}
