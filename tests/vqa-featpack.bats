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
	refuses "bad.tsv: no rows" bad.tsv
	fails_with 1 'vqa-featpack: bad.tsv: no rows' vqa-featpack --skip-bad features.tsv bad.tsv store
	fails_with 1 'vqa-featpack: stdin: no rows' vqa-featpack - store </dev/null
	[ -z "$(find . -name 'store*')" ]
	refuses "none: cannot open: No such file or directory" none
}

@test "a store that is there stays when packing fails" {
	vqa-featpack features.tsv store
	cp store before
	cut -f 1-9 features.tsv >bad.tsv
	run -1 vqa-featpack bad.tsv store
	cmp store before
}

@test "a table where the store's name was forgotten, or another file, is not replaced" {
	cp features.tsv other.tsv
	fails_with 1 'vqa-featpack: other.tsv: is there and no store, expected one to replace or a new name' vqa-featpack features.tsv other.tsv
	cmp features.tsv other.tsv
	echo short >short
	fails_with 1 'vqa-featpack: short: is there and no store, expected one to replace or a new name' vqa-featpack features.tsv short
	[ -z "$(find . -name '*.new')" ]
	: >store
	vqa-featpack features.tsv store
	vqa-featpack --f16 features.tsv store
}

@test "messages do not land in the store where standard error is closed" {
	cat features.tsv <(echo rubbish) >mixed.tsv
	vqa-featpack --source features.tsv --skip-bad mixed.tsv store 2>&-
	vqa-featpack features.tsv want
	cmp store want
	fails_with 1 'vqa-featpack: stdin: cannot read: Bad file descriptor' vqa-featpack - other <&-
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
	fails_with 1 "vqa-featpack: large.tsv:1: byte $(($(cut -f 1-9 large.tsv | wc -c) + 8)), image 'a', features: region 0, number 2 is -65520, expected at most 65504 with --f16" \
		vqa-featpack --f16 large.tsv half.lmdb
	[ ! -e half.lmdb ]
}

# store_of SRC…: what the store of them gives, the questions being about every image in golden/npz/rows.tsv.
store_of() {
	rm -f some
	vqa-featpack --source x "$@" some
	vqa-featload some <questions
}

@test "numpy's files, as numpy writes them, are what their rows are" {
	cut -f 1 "$GOLDEN/npz/rows.tsv" | jq -R '{img_id: ., sent: "what?"}' | jq -s 'to_entries | map(.value + {question_id: .key})' >list
	vqa-tokenize list >questions
	store_of "$GOLDEN/npz/rows.tsv" >rows
	vqa-dump <rows | records image '.n >= 1'
	store_of "$GOLDEN"/npz/*.npz | cmp - rows
	store_of "$GOLDEN/npz" | cmp - rows
	tail -n 5 "$GOLDEN/npz/rows.tsv" >some.tsv
	store_of some.tsv "$GOLDEN"/npz/{COCO_val2014_000000000042.jpg,bottom-up,transposed,half}.npz | cmp - rows
}

# npz ARRAY…: some.npz has these arrays over and above (or, with a "-" in front of a name, without) those of a good one.
npz() {
	local arrays=("features=<f4:2x3:1" "boxes=<f4:2x4:0,0,4,4" "img_w=<i8::8" "img_h=<i8::8") kept=() each change
	for each in "${arrays[@]}"; do
		for change in "$@"; do
			[ "${each%%=*}" != "${change%%=*}" ] && [ "-${each%%=*}" != "$change" ] || continue 2
		done
		kept+=("$each")
	done
	for change in "$@"; do
		[[ $change == -* ]] || kept+=("$change")
	done
	"$ROOT/tests/npz.py" some.npz "${kept[@]}"
}

@test "numpy's files that are wrong are named: file, array or image" {
	npz -features
	refuses "some.npz: no array 'features' or 'x'" some.npz
	npz "x=<f4:2x3:1"
	refuses "some.npz: arrays 'features' and 'x' are both there, expected one" some.npz
	npz "features=<f4:3x3:1"
	refuses "some.npz: array 'features': shape (3, 3), expected one dimension to be the boxes'" some.npz
	npz "features=<f4:6:1"
	refuses "some.npz: array 'features': shape (6), expected 2 or 3 dimensions" some.npz
	npz "boxes=<f4:2x5:1"
	refuses "some.npz: array 'boxes': shape (2, 5), expected (regions, 4)" some.npz
	npz "features=<i4:2x3:1"
	refuses "some.npz: array 'features': items of kind 'i4', expected f2, f4 or f8, little endian" some.npz
	npz "features=>f4:2x3:1"
	refuses "some.npz: array 'features': a header of '{'descr': '>f4', 'fortran_order': False, 'shape': (2, 3, ), }', expected plain numbers or strings in at most 3 dimensions" some.npz
	npz "img_w=<f8::8"
	refuses "some.npz: array 'img_w': items of kind 'f8', expected integers" some.npz
	npz "img_w=<i8:2:8"
	refuses "some.npz: array 'img_w': shape (2), expected one number" some.npz
	npz "img_w=<i8::0"
	refuses "some.npz: image 'some': img_w: 0, expected 1 to 16777216" some.npz
	npz "num_boxes=<i8::3"
	refuses "some.npz: image 'some': num_boxes: 3, expected 1 to 2" some.npz
	npz "boxes=<f4:2x4:0,0,4,9"
	refuses "some.npz: image 'some': boxes: box 0 lies at 1.125 of the picture's height, expected 0 to 1" some.npz
	npz "features=<f4:2x3:1,2,3,4,nan"
	refuses "some.npz: image 'some': features: region 1, number 1 is nan, expected a finite number" some.npz
	npz "features=<f8:2x3:1,1e300"
	refuses "some.npz: image 'some': features: region 0, number 1 is inf, expected a finite number" some.npz
	npz "features=<f4:2x0:1"
	refuses "some.npz: 2 regions of 0 features, expected 1 to 1024 of 1 to 65536" some.npz
	npz "features=<f4:1x2x3:1" "boxes=<f4:1x2x4:0,0,4,4" "img_w=<i8:1:8" "img_h=<i8:1:8"
	refuses "some.npz: no array 'img_id' or 'image_id', which many images need" some.npz
	npz "features=<f4:1x2x3:1" "boxes=<f4:1x2x4:0,0,4,4" "img_w=<i8:1:8" "img_h=<i8:1:8" "img_id=<U3:1:"
	refuses "some.npz:0: image '': its id is no text of 1 to 511 bytes" some.npz
	npz "features=<f4F:1x2x3:1" "boxes=<f4:1x2x4:0,0,4,4" "img_w=<i8:1:8" "img_h=<i8:1:8" "img_id=<U3:1:a"
	refuses "some.npz: array 'features': in Fortran's order, expected C's" some.npz
	npz "features=raw:934e554d50590400:"
	refuses "some.npz: array 'features': no .npy of version 1 to 3" some.npz
	npz "features=raw:934e554d50:"
	refuses "some.npz: entry 'features.npy': ends too early" some.npz
	npz "features=raw::"
	refuses "some.npz: entry 'features.npy': ends too early" some.npz
}

@test "numpy's files that are damaged" {
	npz
	head -c 400 some.npz >cut.npz
	refuses "cut.npz: a zip archive without its end: is the file cut?" cut.npz
	/usr/bin/python3 -c '
b = bytearray(open("some.npz", "rb").read())
b[130] ^= 1
open("bad.npz", "wb").write(b)'
	refuses "bad.npz: entry 'features.npy': its checksum does not match" bad.npz
	"$ROOT/tests/npz.py" deflated.npz --deflate "features=<f4:2x3:1" "boxes=<f4:2x4:0,0,4,4" "img_w=<i8::8" "img_h=<i8::8"
	vqa-featpack deflated.npz good
	/usr/bin/python3 -c '
b = bytearray(open("deflated.npz", "rb").read())
b[50] ^= 255
open("bad.npz", "wb").write(b)'
	run -1 vqa-featpack bad.npz store
	[[ $output == "vqa-featpack: bad.npz: entry 'features.npy': its "* ]]
	mkdir -p empty nested/a.npz
	refuses "empty: a folder without .npz files" empty
	cp "$GOLDEN/npz/bottom-up.npz" nested/a.npz
	cp "$GOLDEN/npz/bottom-up.npz" nested
	refuses "nested/a.npz: a folder in a folder, expected a file" nested
	vqa-featpack features.tsv packed.lmdb
	refuses "packed.lmdb: a store already, expected a table or .npz" packed.lmdb
}

@test "--skip-bad leaves out what is at fault, and says so" {
	sed '2s/\t36\t/\t37\t/' features.tsv >mixed.tsv
	sed -n 1p features.tsv >>mixed.tsv
	sed -n 3p features.tsv | head -c 1000 >>mixed.tsv
	npz "img_w=<i8::0"
	vqa-featpack --skip-bad mixed.tsv some.npz store 2>said
	diff said - <<-'END'
		vqa-featpack: left out: mixed.tsv:2: byte 8, image '1', objects_id: 384 characters of base64, expected 396 for 296 bytes
		vqa-featpack: left out: mixed.tsv:5: image '0' is there twice
		vqa-featpack: left out: mixed.tsv:6: the last line breaks off without a newline
		vqa-featpack: 4 images left out, the first of them above
	END
	vqa-featpack --source mixed.tsv <(sed 2d features.tsv) good
	vqa-tokenize <(jq 'map(select(.img_id != 1))' "$GOLDEN/easy-vqa/questions.json") >questions
	vqa-featload good <questions >want
	vqa-featload store <questions | cmp - want
	vqa-featpack --skip-bad features.tsv store 2>said
	[ ! -s said ]
}

@test "--skip-bad does not make a store of nothing, nor does it pass over a missing file" {
	cut -f 1-9 features.tsv >bad.tsv
	run -1 vqa-featpack --skip-bad bad.tsv store
	[ "${lines[-1]}" = 'vqa-featpack: store: no rows to pack' ]
	[ "${lines[-2]}" = 'vqa-featpack: 4 images left out, the first of them above' ]
	fails_with 1 'vqa-featpack: none: cannot open: No such file or directory' vqa-featpack --skip-bad features.tsv none store
	fails_with 1 'vqa-featpack: stdin: cannot read: Input/output error' vqa-featpack --skip-bad features.tsv - store </proc/self/mem
	[ -z "$(find . -name 'store*')" ]
}

@test "what a killed packer leaves is taken over by the next" {
	mkfifo slow
	for _ in 1 2; do
		member vqa-featpack slow store &
		cat features.tsv >slow 4>&- & # opens it for writing, so that the packer has begun
		exec 4>slow
		wait_for '[ -s store.new ]'
		kill -9 "$(cat pid.vqa-featpack)"
		exec 4>&-
		wait_for '[ -e status.vqa-featpack ]'
		rm status.vqa-featpack
		[ "$(find . -name 'store*')" = ./store.new ]
	done
	vqa-featpack --source features.tsv features.tsv store
	[ "$(find . -name 'store*')" = ./store ]
	vqa-featpack features.tsv other
	cmp store other
}

@test "two packers of one store" {
	mkfifo slow
	vqa-featpack --source features.tsv slow store &
	exec 4>slow
	wait_for '[ -e store.new ]'
	fails_with 1 'vqa-featpack: store: another vqa-featpack is writing it' vqa-featpack features.tsv store 4>&-
	cat features.tsv >&4
	exec 4>&-
	wait $!
	vqa-featpack features.tsv other
	cmp store other
}

@test "a file of the temporary name that is not ours stays" {
	echo mine >store.new
	fails_with 1 'vqa-featpack: store.new: is there and no store that was left half-made' vqa-featpack features.tsv store
	[ "$(cat store.new)" = mine ]
	ln -sf mine store.new
	run -1 vqa-featpack features.tsv store
	[ ! -e mine ]
	fails_with 1 'vqa-featpack: none/store.new: cannot create: No such file or directory' vqa-featpack features.tsv none/store
}
