#!/usr/bin/env bats
# pipelines/vqa2, from a server on the loopback with small stand-ins for the real files, in a tree of its own.
load helper

# list PREFIX IMAGES FIRST: two questions an image, ids from FIRST on; labelled but for the test split.
list() {
	jq -n -c --arg prefix "$1" --argjson images "$2" --argjson first "$3" '[range(2 * $images) |
		{question_id: (. + $first), img_id: ($prefix + (. / 2 | floor | tostring | "0" * (12 - length) + .)), sent: "what is it?"} +
		if $prefix == "COCO_test2015_" then {} else {label: {net: 1}, answer_type: "other"} end]'
}

# zipped NAME FOLDER IMAGES PREFIX: NAME.zip with the table in FOLDER
zipped() {
	mkdir -p "in/$2"
	"$ROOT/tests/obj36.py" --images "$3" --prefix "$4" >"in/$2$1.tsv"
	/usr/bin/python3 -m zipfile -c "www/mscoco_imgfeat/$1.zip" in/*
	rm -r in
}

setup_file() {
	cd "$BATS_FILE_TMPDIR"
	mkdir -p www/vqa www/mscoco_imgfeat
	list COCO_train2014_ 5 0 >www/vqa/train.json
	list COCO_val2014_ 3 100 | jq . >www/vqa/nominival.json
	list COCO_val2014_ 3 200 | jq '.[4:]' >www/vqa/minival.json
	list COCO_test2015_ 4 300 >www/vqa/test.json
	echo '["net", "mesh"]' >www/vqa/trainval_label2ans.json
	zipped train2014_obj36 '' 5 COCO_train2014_
	zipped val2014_obj36 mscoco_imgfeat/ 3 COCO_val2014_
	zipped test2015_obj36 a/b/ 4 COCO_test2015_
	cat >counts <<-'END'
		vqa/train.json 10
		vqa/nominival.json 6
		vqa/minival.json 2
		vqa/test.json 8
		vqa/trainval_label2ans.json 2
		mscoco_imgfeat/train2014_obj36.tsv 5
		mscoco_imgfeat/val2014_obj36.tsv 3
		mscoco_imgfeat/test2015_obj36.tsv 4
	END
}

setup() {
	cd "$BATS_TEST_TMPDIR"
	cp -r "$BATS_FILE_TMPDIR/www" "$BATS_FILE_TMPDIR/counts" .
	mkdir tree
	cp -r "$ROOT/pipelines" tree
	ln -s "$BIN" tree/bin
	: >log
	"$ROOT/tests/serve.py" www log port 1000 >server.out 2>&1 3>&- &
	echo $! >server
	wait_for '[ -e port ]'
	VQA2_URL=http://127.0.0.1:$(cat port)
	export VQA2_URL VQA2_COUNTS=$PWD/counts
}

teardown() {
	kill "$(cat "$BATS_TEST_TMPDIR/server")"
}

# fails_at WORDS COMMAND…: it exits with 1, and its last line on stderr is WORDS.
fails_at() {
	local words=$1 status=0
	shift
	"$@" >out 2>err || status=$?
	[ "$status" = 1 ] && [ "$(tail -n 1 err)" = "$words" ] || {
		cat err
		return 1
	}
}

@test "fetches, unpacks, counts, packs; what is there is not fetched again" {
	tree/pipelines/vqa2
	cd tree/data
	[ "$(find vqa mscoco_imgfeat vqa2 | sort | tr '\n' ' ')" = "mscoco_imgfeat mscoco_imgfeat/test2015_obj36.tsv mscoco_imgfeat/train2014_obj36.tsv mscoco_imgfeat/val2014_obj36.tsv vqa vqa/minival.json vqa/nominival.json vqa/test.json vqa/train.json vqa/trainval_label2ans.json vqa2 vqa2/answers.json vqa2/test.json vqa2/test.lmdb vqa2/train.json vqa2/train.lmdb vqa2/valid.json vqa2/whole " ]
	jq -s '.[0] + .[1]' vqa/{train,nominival}.json | diff - <(jq . vqa2/train.json)
	cmp vqa2/valid.json vqa/minival.json
	cmp vqa2/test.json vqa/test.json
	[ "$(jq -c . vqa2/answers.json)" = '["net","mesh"]' ]
	for list in train valid test; do
		store=${list/valid/train}
		vqa-tokenize vqa2/$list.json | vqa-featload vqa2/$store.lmdb | vqa-dump >loaded
		records image '.n == 36' <loaded
		[ "$(jq -c 'select(.type == "header") | [.features, .feature_source]' loaded)" = '[2048,"LXMERT, 36 regions of 2048"]' ]
		[ "$(jq -c 'select(.type == "end").questions' loaded)" = "$(jq length vqa2/$list.json)" ]
	done
	cd ../..
	[ "$(grep -c ^GET log)" = 8 ]
	: >log
	before=$(stat -c %Y.%i tree/data/vqa2/*.lmdb)
	tree/pipelines/vqa2
	[ ! -s log ]
	[ "$(stat -c %Y.%i tree/data/vqa2/*.lmdb)" = "$before" ]
}

@test "the reference's files that are there are used as they are; with stores the tables may go" {
	mkdir -p tree/data/mscoco_imgfeat
	cp -r www/vqa tree/data
	cd tree/data/mscoco_imgfeat
	for table in train2014_obj36 val2014_obj36 test2015_obj36; do
		unzip -q -j "../../../www/mscoco_imgfeat/$table.zip"
	done
	cd ../../..
	VQA2_F16=1 tree/pipelines/vqa2
	[ ! -s log ]
	rm -r tree/data/mscoco_imgfeat tree/data/vqa2/whole
	tree/pipelines/vqa2
	[ ! -s log ]
	vqa-tokenize tree/data/vqa2/test.json | vqa-featload tree/data/vqa2/test.lmdb | vqa-dump | records image '.dtype.features == "f16"'
}

@test "what breaks off is gone on with" {
	: >www/cut
	mkdir tree/data
	cp -r www/vqa tree/data
	fails_at "vqa2: $VQA2_URL/mscoco_imgfeat/train2014_obj36.zip: broke off; the same command goes on from there" tree/pipelines/vqa2
	[ "$(stat -c %s tree/data/mscoco_imgfeat/train2014_obj36.zip.part)" = 1000 ]
	[ ! -e tree/data/mscoco_imgfeat/train2014_obj36.zip ]
	rm www/cut
	tree/pipelines/vqa2
	grep -qx 'GET /mscoco_imgfeat/train2014_obj36.zip bytes=1000-' log
	[ -e tree/data/vqa2/whole ]
	[ -z "$(find tree/data -name '*.part' -o -name '*.zip' -o -name '*.new')" ]
}

@test "a download that was whole when it was interrupted is not fetched again" {
	mkdir -p tree/data/vqa
	cp www/vqa/train.json tree/data/vqa/train.json.part
	tree/pipelines/vqa2
	grep 'GET /vqa/train.json' log && return 1
	cmp www/vqa/train.json tree/data/vqa/train.json
}

@test "wrong counts, broken files and missing ones are named" {
	sed -i 's/^vqa.nominival.json 6/vqa\/nominival.json 7/' counts
	fails_at 'vqa2: data/vqa/nominival.json: 6 questions, expected 7; remove it to have it fetched anew' tree/pipelines/vqa2
	sed -i 's/^vqa.nominival.json 7/vqa\/nominival.json 6/; s/val2014_obj36.tsv 3/val2014_obj36.tsv 4/' counts
	fails_at 'vqa2: data/mscoco_imgfeat/val2014_obj36.tsv: 3 images, expected 4; remove it to have it fetched anew' tree/pipelines/vqa2
	[ ! -e tree/data/vqa2/train.lmdb ]
	sed -i 's/val2014_obj36.tsv 4/val2014_obj36.tsv 3/' counts
	head -c 900 www/mscoco_imgfeat/test2015_obj36.zip >cut
	mv cut www/mscoco_imgfeat/test2015_obj36.zip
	fails_at 'vqa2: data/mscoco_imgfeat/test2015_obj36.zip: no zip archive with test2015_obj36.tsv; remove it to have it fetched anew' tree/pipelines/vqa2
	[ -e tree/data/vqa2/train.lmdb ]
	cp "$BATS_FILE_TMPDIR/www/mscoco_imgfeat/test2015_obj36.zip" tree/data/mscoco_imgfeat
	printf X | dd of=tree/data/mscoco_imgfeat/test2015_obj36.zip bs=1 seek=2000 conv=notrunc status=none
	fails_at 'vqa2: data/mscoco_imgfeat/test2015_obj36.zip: damaged; remove it to have it fetched anew' tree/pipelines/vqa2
	[ ! -e tree/data/mscoco_imgfeat/test2015_obj36.tsv ]
	rm tree/data/mscoco_imgfeat/test2015_obj36.zip www/mscoco_imgfeat/test2015_obj36.zip
	fails_at "vqa2: $VQA2_URL/mscoco_imgfeat/test2015_obj36.zip: cannot be fetched" tree/pipelines/vqa2
	[ ! -e tree/data/vqa2/whole ]
	head -c 500 www/vqa/test.json >tree/data/vqa/test.json
	run -1 tree/pipelines/vqa2
	[[ $output == *'vqa-tokenize: data/vqa/test.json:'* ]]
}

@test "a table that is wrong stops the packing, with the place" {
	mkdir -p tree/data/mscoco_imgfeat
	unzip -q -p www/mscoco_imgfeat/train2014_obj36.zip | sed '2s/\t36\t/\t35\t/' >tree/data/mscoco_imgfeat/train2014_obj36.tsv
	run -1 tree/pipelines/vqa2
	[[ ${lines[-1]} == 'vqa-featpack: data/mscoco_imgfeat/train2014_obj36.tsv:2: byte '*'objects_id: 384 characters of base64, expected '* ]]
	[ -z "$(find tree/data/vqa2 -name '*.lmdb*')" ]
}

# The whole job on tables of full width, with the reference's own recipe but for the model's size and the batch.
@test "train-sparse and test-sparse on it" {
	[ -z "${VQA_SANITIZED:-}" ] || skip "trainings run in the release build"
	local run=tree/snap/sparse
	tree/pipelines/vqa2
	export DATA=vqa2 MODEL='-L 1,1,1 -H 16 -n 2 -F 16' BATCH=4 EPOCHS=2
	tree/pipelines/train-sparse >said 2>errors || { cat errors; return 1; }
	[ "$(tail -n 1 errors)" = 'snap/sparse/test_predict.json: its labels are not public; submit it (vqa(7), EvalAI)' ]
	jq -e 'map(.question_id) == [range(300; 308)] and all(.answer == "net" or .answer == "mesh")' $run/test_predict.json
	[ "$(ckpt-info --json $run | jq -c '[.config.sparse, .config.features, .run.dropout, .run.batch, .run.step]')" = '[true,2048,0.1,4,8]' ]
	awk -F '\t' 'NR > 1 { print $6 }' $run/log.tsv | head -n 2 | diff - <(printf '1e-05\n1.002e-05\n')
	cp $run/test_predict.json before
	rm $run/test_predict.json
	tree/pipelines/test-sparse 2>errors
	cmp before $run/test_predict.json
	# To the letter: a row of each span for a question of a batch, for the answers too.
	COMPAT=1 TINY=1 SNAP=$PWD/tiny tree/pipelines/train-adaptive 2>errors
	[ "$(ckpt-info --json tiny/adaptive | jq -c '[.config.span_rows, .run.compat]')" = '[4,true]' ]
	vqa-tokenize tree/data/vqa2/test.json | vqa-featload tree/data/vqa2/test.lmdb | vqa-forward -b 4 --compat "$(ls tiny/adaptive/{BEST,LAST}.safetensors 2>/dev/null | head -n 1)" |
		vqa-submit | cmp - tiny/adaptive/test_predict.json
	[ "$(jq length tiny/adaptive/test_predict.json)" = 8 ]
	[ "$(jq length tree/data/vqa2/tiny/train.json)" = 16 ]
}
