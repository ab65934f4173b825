load helper

# The records of a stream as JSON lines, tokens as numbers.
records() {
	/usr/bin/python3 -c '
import json, msgpack, sys
for r in msgpack.Unpacker(sys.stdin.buffer):
    if "tokens" in r:
        t = r["tokens"]
        r["tokens"] = [int.from_bytes(t[i:i + 4], "little", signed=True) for i in range(0, len(t), 4)]
    print(json.dumps(r))'
}

ids() {
	records | jq -c 'select(.type == "question").id' | paste -sd ' '
}

list() {
	cat >list.json <<-'END'
		[{"question_id": 5, "img_id": 1, "sent": "what color is the shape?", "label": {"red": 1, "blue": 0.3},
		  "answer_type": "other", "question_type": "what color"},
		 {"question_id": -6, "img_id": "COCO_2", "sent": "caf\u00e9\u0000?", "unknown": [{}]},
		 {"question_id": 7, "img_id": 1, "sent": ""}]
	END
}

# entry FIELDS: a list of one entry with question_id 1, img_id 1, an empty sent and these fields.
entry() {
	printf '[{"question_id": 1, "img_id": 1, "sent": ""%s}]' "$1" >list.json
}

@test "manners" {
	manners vqa-tokenize
}

@test "records of a list" {
	list
	vqa-tokenize list.json | records >out
	[ "$(wc -l <out)" = 5 ]
	[ "$(jq -cS 'select(.type == "header") | del(.source, .by)' out)" = \
		'{"max_tokens":20,"questions":3,"skip":0,"type":"header","vocab":"1a8955ef43215668","vqa":1}' ]
	jq -r 'select(.type == "header").source' out | grep -Eqx '[0-9a-f]{16}'
	jq -r 'select(.type == "header").by' out | grep -Eqx 'vqa-tokenize [0-9.]+'
	[ "$(jq -cS 'select(.id == 5)' out)" = '{"answer_type":"other","id":5,"image":"1","label":{"blue":0.3,"red":1},"question_type":"what color","sent":"what color is the shape?","tokens":[101,2054,3609,2003,1996,4338,1029,102],"type":"question"}' ]
	[ "$(jq -cS 'select(.id == -6)' out)" = '{"id":-6,"image":"COCO_2","sent":"café\u0000?","tokens":[101,7668,1029,102],"type":"question"}' ]
	[ "$(jq -c 'select(.id == 7).tokens' out)" = '[101,102]' ]
	[ "$(jq -cS 'select(.type == "end")' out)" = '{"questions":3,"type":"end"}' ]
}

@test "every golden sentence, through a list and a stream" {
	jq -s '[to_entries[] | {question_id: .key, img_id: 0, sent: .value.sent}]' "$GOLDEN/tokens/sentences.jsonl" >list.json
	vqa-tokenize list.json | records | jq -c 'select(.type == "question").tokens' >got
	# without the padding
	jq -c '.ids | until(length == 0 or .[-1] != 0; .[:-1])' "$GOLDEN/tokens/sentences.jsonl" >want
	[ "$(wc -l <got)" = 1739 ]
	diff want got
}

@test "a file, a pipe, '-' and several files give the same" {
	list
	vqa-tokenize list.json >file
	cat list.json | vqa-tokenize >pipe
	vqa-tokenize - <list.json >redirected
	cmp file pipe
	cmp file redirected
	printf '[{"question_id": 8, "img_id": 9, "sent": "x"}]' >more.json
	[ "$(vqa-tokenize list.json more.json | ids)" = '5 -6 7 8' ]
	[ "$(cat more.json | vqa-tokenize list.json - | ids)" = '5 -6 7 8' ]
	mkdir none
	fails_with 1 "vqa-tokenize: temporary file in 'none/no': No such file or directory" \
		bash -c 'cat list.json | TMPDIR=none/no vqa-tokenize'
}

@test "one question without a list" {
	[ "$(vqa-tokenize -q 'is it?' -i 3 | records | jq -cS 'select(.type == "question")')" = \
		'{"id":0,"image":"3","sent":"is it?","tokens":[101,2003,2009,1029,102],"type":"question"}' ]
	fails_with 2 "vqa-tokenize: -q: expected with -i" vqa-tokenize -q x
	fails_with 2 "vqa-tokenize: -i: expected with -q" vqa-tokenize -i x
	fails_with 2 "vqa-tokenize: -i: name of 0 bytes, expected 1 to 511" vqa-tokenize -q x -i ''
	fails_with 2 "vqa-tokenize: -i: not UTF-8, expected an image's name" vqa-tokenize -q x -i $'\xff'
	fails_with 2 "vqa-tokenize: -q: no list and no choice of a list's questions, expected -i and -V only" \
		vqa-tokenize -q x -i y --skip 1
	fails_with 1 "vqa-tokenize: question 0: byte 1 of the sentence is not UTF-8" vqa-tokenize -q $'a\xff' -i y
}

@test "orders, shards, skip and limit" {
	jq -n '[range(60) | {question_id: ., img_id: (. % 7), sent: "?"}]' >list.json
	vqa-tokenize --shuffle 3 list.json | ids >one
	vqa-tokenize --shuffle 3 list.json | ids >two
	cmp one two
	vqa-tokenize --shuffle 4 list.json | ids >other
	[ "$(cat one)" != "$(cat other)" ]
	[ "$(tr ' ' '\n' <one | sort -n | paste -sd ' ')" = "$(seq 0 59 | paste -sd ' ')" ]
	[ "$(vqa-tokenize --shuffle 3 --skip 50 list.json | ids)" = "$(cut -d ' ' -f 51- one)" ]
	for shard in 0 1 2; do
		vqa-tokenize --shuffle 3 --shard $shard/3 list.json | ids | tr ' ' '\n' >shard.$shard
	done
	[ "$(paste -d '\n' shard.0 shard.1 shard.2 | paste -sd ' ')" = "$(cat one)" ]
	[ "$(vqa-tokenize --shard 1/7 --skip 2 list.json | records | jq -c 'select(.type == "header") | [.questions, .total, .shard, .shards, .skip]')" = \
		'[9,60,1,7,2]' ]
	[ "$(vqa-tokenize --limit-images 2 list.json | ids)" = '0 1 7 8 14 15 21 22 28 29 35 36 42 43 49 50 56 57' ]
	# an image's questions are together, in random order too
	vqa-tokenize --shuffle-images 1 list.json | ids | tr ' ' '\n' >images
	[ "$(sort -n images | paste -sd ' ')" = "$(seq 0 59 | paste -sd ' ')" ]
	[ "$(awk '{ print $1 % 7 }' images | uniq | wc -l)" = 7 ]
	[ "$(awk '{ print $1 % 7 }' images | uniq | paste -sd ' ')" != "$(awk '{ print $1 % 7 }' images | uniq | sort -n | paste -sd ' ')" ]
	run awk '{ m = $1 % 7; if (m in last && last[m] > $1) exit 1; last[m] = $1 }' images
	[ "$status" = 1 ]
	cmp <(vqa-tokenize --shuffle-images 1 list.json) <(vqa-tokenize --shuffle-images 1 list.json)
	[ "$(vqa-tokenize --shuffle-images 2 list.json | ids | tr ' ' '\n')" != "$(cat images)" ]
	# with the others: the first images of the list, then their order, a share of it with an image's questions still together, the rest
	vqa-tokenize --shuffle-images 1 --limit-images 3 list.json | ids | tr ' ' '\n' >limited
	[ "$(sort -n limited | paste -sd ' ')" = "$(seq 0 59 | awk '$1 % 7 < 3' | paste -sd ' ')" ]
	vqa-tokenize --shuffle-images 1 --limit-images 3 --shard 1/2 --skip 4 list.json | ids | tr ' ' '\n' | diff - <(sed -n 'n;p' limited | sed 1,4d)
	# the source says what the order is, not what is skipped
	source_of() { vqa-tokenize "$@" list.json | records | jq -r 'select(.type == "header").source'; }
	[ "$(source_of --shuffle 3)" = "$(source_of --shuffle 3 --skip 7)" ]
	[ "$(source_of --shuffle 3)" != "$(source_of --shuffle 4)" ]
	[ "$(source_of --shuffle 3)" != "$(source_of --shuffle-images 3)" ]
	[ "$(source_of)" != "$(source_of --limit-images 3)" ]
	[ "$(source_of --shard 0/2)" = "$(source_of --shard 1/2)" ]
	[ "$(source_of --shard 0/2)" != "$(source_of)" ]
	fails_with 1 "vqa-tokenize: --skip 61: more than the 60 questions there are" vqa-tokenize --skip 61 list.json
	[ "$(vqa-tokenize --skip 60 list.json | records | tail -1)" = '{"type": "end", "questions": 0}' ]
	fails_with 2 "vqa-tokenize: --shuffle and --shuffle-images: expected one of them" vqa-tokenize --shuffle 1 --shuffle-images 1 list.json
	fails_with 2 "vqa-tokenize: --shard: '2/2', expected I/N with 0 <= I < N" vqa-tokenize --shard 2/2 list.json
}

@test "empty list, empty file, no list" {
	echo '[]' >list.json
	[ "$(vqa-tokenize list.json | records | tail -1)" = '{"type": "end", "questions": 0}' ]
	: >list.json
	fails_with 1 "vqa-tokenize: list.json: breaks off at byte 0, expected a JSON list" vqa-tokenize list.json
	fails_with 1 "vqa-tokenize: stdin: breaks off at byte 0, expected a JSON list" vqa-tokenize </dev/null
	fails_with 1 "vqa-tokenize: none.json: No such file or directory" vqa-tokenize none.json
	mkdir folder
	fails_with 1 "vqa-tokenize: folder: Is a directory" vqa-tokenize folder
	echo '{"questions": []}' >list.json
	[ "$(vqa-tokenize list.json | records | tail -1)" = '{"type": "end", "questions": 0}' ]
	echo '{"annotations": []}' >list.json
	fails_with 1 "vqa-tokenize: list.json: an object without 'questions', expected it or a JSON list" vqa-tokenize list.json
}

# official [JQ-FILTER]: VQA's own list of two questions, after the filter
official() {
	jq -c "${1:-.}" >list.json <<-'END'
		{"info": {"version": "2.0"}, "task_type": "Open-Ended", "license": {"name": "]}"}, "data_subtype": "train2014",
		 "questions": [{"image_id": 42, "question": "What color is the shape?", "question_id": 42000},
		               {"image_id": 123456789012, "question": "Is it?", "question_id": 9007199254740992}], "data_type": "mscoco"}
	END
}

@test "VQA's own questions" {
	official
	[ "$(vqa-tokenize list.json | records | jq -c 'select(.type == "question") | [.id, .image, .sent]' | paste -sd ' ')" = \
		'[42000,"COCO_train2014_000000000042","What color is the shape?"] [9007199254740992,"COCO_train2014_123456789012","Is it?"]' ]
	cmp <(vqa-tokenize list.json) <(cat list.json | vqa-tokenize)
	# as the reference's list of the same questions has them
	jq '[.questions[] | {question_id, img_id: "COCO_train2014_\("000000000000\(.image_id)"[-12:])", sent: .question}]' list.json >same.json
	diff <(vqa-tokenize list.json | records | sed 1d) <(vqa-tokenize same.json | records | sed 1d)
	# the images of test-dev2015 are test2015's
	official '.data_subtype = "test-dev2015"'
	[ "$(vqa-tokenize list.json | records | jq -r 'select(.id == 42000).image')" = COCO_test2015_000000000042 ]
}

@test "bad files of VQA's own" {
	bad() { # JQ-FILTER LINE
		official "$1"
		fails_with 1 "vqa-tokenize: list.json$2" vqa-tokenize list.json
		[ ! -s fails_with.out ]
	}
	bad '{questions}' ":1: entry 1 (byte 14): no 'data_subtype' came before 'questions', expected the images' set"
	bad '{questions, data_subtype}' ":1: entry 1 (byte 14): no 'data_subtype' came before 'questions', expected the images' set"
	bad '{data_subtype: 2014, questions}' ":1: entry 1 (byte 34): 'data_subtype' is 2014, expected a string of 1 to 64 bytes"
	bad '{data_subtype: "", questions}' ":1: entry 1 (byte 32): 'data_subtype' is '', expected a string of 1 to 64 bytes"
	bad '{data_subtype, questions: [{}]}' ":1: entry 1 (byte 41): 'question_id' is missing, expected an integer"
	bad '{data_subtype, questions: [{question_id: 1}]}' ":1: entry 1 (byte 41): 'image_id' is missing, expected an integer"
	bad '{data_subtype, questions: [{question_id: 1, image_id: -4}]}' ":1: entry 1 (byte 41): 'image_id' is -4, expected an integer from 0"
	bad '{data_subtype, questions: [{question_id: 1, image_id: "4"}]}' ":1: entry 1 (byte 41): 'image_id' is '4', expected an integer"
	bad '{data_subtype, questions: [{question_id: 1, image_id: 4}]}' ":1: entry 1 (byte 41): 'question' is missing, expected a string"
	bad '{data_subtype, questions: [{question_id: 1, image_id: 4, question: []}]}' ":1: entry 1 (byte 41): 'question' is an array, expected a string"
	bad '{data_subtype, questions: [{question_id: 1, image_id: 4, sent: "x"}]}' ":1: entry 1 (byte 41): 'question' is missing, expected a string"
	bad '{data_subtype, questions: {}}' ":1: byte 40: found '{', expected '[', a JSON list"
	sed -i 's/{}/[NaN]/' list.json
	fails_with 1 "vqa-tokenize: list.json:1: byte 41: found 'N', expected '{', an entry of the list" vqa-tokenize list.json
	printf '{"info": {"a": NaN}, "questions": []}' >list.json
	fails_with 1 "vqa-tokenize: list.json:1: byte 9: invalid token near 'NaN' before byte 18" vqa-tokenize list.json
	printf '{"questions": [], "info": -Infinity}' >list.json
	fails_with 1 "vqa-tokenize: list.json:1: byte 26: invalid token near '-' before byte 27" vqa-tokenize list.json
	printf '[{"question_id": 9007199254740993, "img_id": 1, "sent": ""}]' >list.json
	fails_with 1 "vqa-tokenize: list.json:1: entry 1 (byte 1): 'question_id' is 9007199254740993, expected an integer of at most 2^53" vqa-tokenize list.json
	official
	for n in 1 20 60 100 200 $(($(wc -c <list.json) - 2)); do
		head -c "$n" list.json >cut.json
		run -1 vqa-tokenize cut.json
		[[ $output == "vqa-tokenize: cut.json: breaks off at byte $n, "* ]]
	done
}

# asked: questions to the golden annotations, in list.json
asked() {
	jq -c '{data_subtype: "val2014", questions: [.annotations[] | {question_id, image_id, question: "what?"}]}' "$GOLDEN/score/annotations.json" >list.json
}

labels() {
	records | jq -c 'select(.type == "question") | [.id, .label]'
}

@test "labels as LXMERT's, and the list of answers" {
	asked
	vqa-tokenize --make-answers 9 -a "$GOLDEN/score/annotations.json" >answers.json
	diff <(jq -S sort answers.json) <(jq .answers "$GOLDEN/score/labels.json")
	# the most frequent first, equals by their bytes
	diff <(jq -c '.[]' answers.json) <(jq -c '.counts | to_entries | map(select(.value >= 9)) | sort_by([-.value, .key])[].key' "$GOLDEN/score/labels.json")
	vqa-tokenize -A answers.json -a "$GOLDEN/score/annotations.json" list.json | labels | jq -cS . | sort >got
	jq -cS '.labels | to_entries[] | [(.key | tonumber), .value]' "$GOLDEN/score/labels.json" | sort | diff - got
	# a checkpoint has its list; the order changes nothing
	ckpt-init -L 1,1,1 -H 8 -n 2 -F 8 -f 5 -A answers.json tiny.safetensors
	vqa-tokenize --shuffle 3 -A tiny -a "$GOLDEN/score/annotations.json" list.json | labels | jq -cS . | sort | diff - got
	# a pipe is read once, from its first byte
	mkfifo pipe
	for _ in $(seq 20); do
		cat answers.json >pipe &
		timeout 20 vqa-tokenize -A pipe -a "$GOLDEN/score/annotations.json" list.json | labels | jq -cS . | sort >got
		wait $!
		jq -cS '.labels | to_entries[] | [(.key | tonumber), .value]' "$GOLDEN/score/labels.json" | sort | diff - got
	done
	# without a list every answer is there
	vqa-tokenize -a "$GOLDEN/score/annotations.json" list.json | labels | jq -cS . | sort >all
	jq -cS '.annotations[] | [.question_id, (.answers | group_by(.answer) | map({key: .[0].answer, value: ([length, 4] | min | [0, 0.3, 0.6, 0.9, 1][.])}) | from_entries)]' \
		"$GOLDEN/score/annotations.json" | sort | diff - all
	# and the types
	diff <(vqa-tokenize -a "$GOLDEN/score/annotations.json" list.json | records | jq -r 'select(.type == "question") | [.id, .answer_type, .question_type] | @tsv') \
		<(jq -r '.annotations[] | [.question_id, .answer_type, .question_type] | @tsv' "$GOLDEN/score/annotations.json")
}

@test "annotations of several files, of more questions, out of a pipe" {
	asked
	vqa-tokenize -a "$GOLDEN/score/annotations.json" list.json | records >want
	jq -c '.annotations |= .[400:]' "$GOLDEN/score/annotations.json" >late.json
	jq -c '.annotations[:400]' "$GOLDEN/score/annotations.json" >early.json
	cat early.json | vqa-tokenize -a late.json -a - list.json | records | sed 1d | diff <(sed 1d want) -
	jq -c '.questions |= .[:7]' list.json >few.json
	diff <(vqa-tokenize -a "$GOLDEN/score/annotations.json" few.json | records | sed '1d; $d') <(sed -n 2,8p want)
	# what was known is replaced
	jq '[.questions[:7][] | {question_id, img_id: .image_id, sent: .question, label: {x: 1}, answer_type: "x"}]' list.json >known.json
	diff <(vqa-tokenize -a "$GOLDEN/score/annotations.json" known.json | records | jq -c 'select(.id) | [.label, .answer_type]') \
		<(sed -n 2,8p want | jq -c '[.label, .answer_type]')
	# labels are of the source
	source_of() { vqa-tokenize "$@" | records | jq -r 'select(.type == "header").source'; }
	echo '["yes"]' >one.json
	[ "$(source_of list.json)" != "$(source_of -a "$GOLDEN/score/annotations.json" list.json)" ]
	[ "$(source_of -A one.json -a "$GOLDEN/score/annotations.json" list.json)" != "$(source_of -a "$GOLDEN/score/annotations.json" list.json)" ]
	fails_with 1 "vqa-tokenize: late.json: no annotation of question 262148000; 400 of the 900 questions have none" vqa-tokenize -a late.json list.json
	[ ! -s fails_with.out ]
	fails_with 1 "vqa-tokenize: late.json and the others: no annotation of question 262148000; 400 of the 900 questions have none" \
		vqa-tokenize -a late.json -a <(echo '[]') list.json
	status=0
	vqa-tokenize -a late.json -a late.json list.json >out 2>said || status=$?
	[ "$status" = 1 ] && [ ! -s out ]
	grep -Eqx 'vqa-tokenize: late.json:1: entry 1 \(byte [0-9]+\): question_id 262148400 is annotated twice' said
	fails_with 2 "vqa-tokenize: -A: expected with -a" vqa-tokenize -A one.json list.json
	fails_with 2 "vqa-tokenize: --make-answers: no questions, expected -a only" vqa-tokenize --make-answers 9 -a late.json list.json
	fails_with 2 "vqa-tokenize: --make-answers: no questions, expected -a only" vqa-tokenize --make-answers 9
	fails_with 1 "vqa-tokenize: 0 answers occur at least 900 times, expected 1 to 65536" vqa-tokenize --make-answers 900 -a late.json
	jq -c 'map(del(.multiple_choice_answer))' early.json >none.json
	fails_with 1 "vqa-tokenize: none.json: question 262148000 has no 'multiple_choice_answer'" vqa-tokenize --make-answers 9 -a none.json
	fails_with 1 "vqa-tokenize: stdout: cannot write: No space left on device" \
		bash -c 'vqa-tokenize --make-answers 9 -a late.json >/dev/full'
}

@test "images are read once where they are shuffled: 5.4 times as few as else" {
	/usr/bin/python3 "$ROOT/tests/questions.py" --questions 27000 >list.json
	changes() { vqa-tokenize "$@" list.json | vqa-dump | jq -r 'select(.type == "question").image' | uniq | wc -l; }
	[ "$(changes --shuffle-images 5)" = 5000 ]
	[ "$(changes --shuffle 5)" -gt 26900 ]
	diff <(vqa-tokenize --shuffle-images 5 list.json | vqa-dump | jq 'select(.type == "question").id' | sort -n) <(jq '.questions[].question_id' list.json | sort -n)
}

@test "memory: tables, never the file" {
	[ -z "${VQA_SANITIZED:-}" ] || skip "a sanitizer's build has memory of its own"
	for n in 5000 60000; do
		/usr/bin/python3 "$ROOT/tests/questions.py" --questions $n >list.json
		/usr/bin/python3 "$ROOT/tests/questions.py" --questions $n --annotations >annotations.json
		most_memory vqa-tokenize --shuffle 1 list.json >/dev/null
		cat most >>plain
		cat list.json | most_memory vqa-tokenize --shuffle-images 1 >/dev/null
		cat most >>piped
		most_memory vqa-tokenize --shuffle 1 -a annotations.json list.json >/dev/null
		cat most >>labelled
	done
	# A question of this list has 105 bytes, with its annotation 900: held in memory, as jansson does, over 5,000.
	cat plain piped labelled
	# 8 bytes of place (with annotations twice), 8 of the id, 7 of the table that finds it, 4 of the order; 8 to 16 of the image
	[ "$(bytes_each 5000 60000 <plain)" -le 38 ]
	[ "$(bytes_each 5000 60000 <piped)" -le 60 ]
	[ "$(bytes_each 5000 60000 <labelled)" -le 46 ]
}

@test "a list that breaks off, at any byte" {
	list
	size=$(wc -c <list.json)
	for n in 1 2 30 100 $((size - 3)) $((size - 2)); do
		head -c "$n" list.json >cut.json
		status=0
		vqa-tokenize cut.json >out 2>said || status=$?
		[ "$status" = 1 ]
		[ ! -s out ]
		grep -q "^vqa-tokenize: cut.json: breaks off at byte $n, " said
	done
	head -c 30 list.json >cut.json
	fails_with 1 "vqa-tokenize: cut.json: breaks off at byte 30, inside entry 1 (line 1)" vqa-tokenize cut.json
	fails_with 1 "vqa-tokenize: stdin: breaks off at byte 30, inside entry 1 (line 1)" bash -c 'cat cut.json | vqa-tokenize'
}

@test "bad entries, with their place" {
	bad() {
		fails_with 1 "vqa-tokenize: list.json:1: entry 1 (byte 1): $1" vqa-tokenize list.json
		[ ! -s fails_with.out ]
	}
	echo '[{"img_id": 1, "sent": ""}]' >list.json
	bad "'question_id' is missing, expected an integer"
	echo '[{"question_id": 1, "sent": ""}]' >list.json
	bad "'img_id' is missing, expected an integer or a string"
	echo '[{"question_id": 1, "img_id": 2}]' >list.json
	bad "'sent' is missing, expected a string"
	echo '[{"question_id": "1", "img_id": 1, "sent": ""}]' >list.json
	bad "'question_id' is '1', expected an integer"
	echo '[{"question_id": 1.5, "img_id": 1, "sent": ""}]' >list.json
	bad "'question_id' is 1.5, expected an integer"
	echo '[{"question_id": 99999999999999999999, "img_id": 1, "sent": ""}]' >list.json
	bad "too big integer near '99999999999999999999' before byte 37"
	echo '[{"question_id": 1, "img_id": {}, "sent": ""}]' >list.json
	bad "'img_id' is an object, expected an integer or a string"
	echo '[{"question_id": 1, "img_id": 1, "sent": null}]' >list.json
	bad "'sent' is null, expected a string"
	entry ', "label": "red"'
	bad "'label' is 'red', expected an object of answers and scores"
	entry ', "label": {"red": "1"}'
	bad "label of 'red' is '1', expected a score of 0 to 1"
	entry ', "label": {"red": -0.5}'
	bad "label of 'red' is -0.5, expected a score of 0 to 1"
	entry ', "label": {"red": 1e999}'
	bad "real number overflow near '1e999' before byte 67"
	entry ', "answer_type": 3'
	bad "'answer_type' is 3, expected a string"
	entry ', "sent": "again"'
	bad "duplicate object key near '\"sent\"' before byte 51"
	printf '[{"question_id": 1, "img_id": 1, "sent": "\xff"}]' >list.json
	bad "byte 42 is 0xff, not UTF-8"
	entry ', "x": }'
	bad "unexpected token near '}' before byte 51"
	{ printf '[{"x": '; printf '[%.0s' {1..5000}; } >list.json
	bad "over 32 levels deep, expected a flat entry"
	{ printf '[{"x": "'; head -c 1100000 /dev/zero | tr '\0' x; printf '"}]'; } >list.json
	bad "over 1048576 bytes, expected a smaller entry"
	entry ", \"x\": \"$(head -c 66000 /dev/zero | tr '\0' x)\""
	sed -i 's/"sent": ""/"sent2": ""/; s/"x"/"sent"/' list.json
	bad "'sent' of 66000 bytes, expected at most 65536"
	printf '[{"question_id": 1, "img_id": 1, "sent": ""},\n\n{"question_id": 1, "img_id": 2, "sent": ""}]' >list.json
	fails_with 1 "vqa-tokenize: list.json:3: entry 2 (byte 47): question_id 1 is there twice, first in entry 1 of list.json" vqa-tokenize list.json
	echo '[1]' >list.json
	fails_with 1 "vqa-tokenize: list.json:1: byte 1: found '1', expected '{', an entry of the list" vqa-tokenize list.json
	head -c 1000 /dev/urandom | tr '[' x >list.json
	status=0
	vqa-tokenize list.json >out 2>/dev/null || status=$?
	[ "$status" = 1 ]
	[ ! -s out ]
}

@test "vocabularies" {
	list
	printf '[UNK]\n[CLS]\n[SEP]\nwhat\n##s\n' >small.txt
	[ "$(vqa-tokenize -V small.txt list.json | records | jq -c 'select(.id == 5).tokens')" = '[1,3,0,0,0,0,0,2]' ]
	cmp <(vqa-tokenize -V small.txt list.json) <(VQA_VOCAB=small.txt vqa-tokenize list.json)
	fails_with 1 "vqa-tokenize: none.txt: cannot open: No such file or directory" vqa-tokenize -V none.txt list.json
	printf '[UNK]\n[CLS]\n' >bad.txt
	fails_with 1 "vqa-tokenize: bad.txt: no '[SEP]' among its 2 pieces" vqa-tokenize -V bad.txt list.json
	printf '[UNK]\na\na\n' >bad.txt
	fails_with 1 "vqa-tokenize: bad.txt:3: 'a' is there twice, first on line 2" vqa-tokenize -V bad.txt list.json
	printf '[UNK]\n\na\n' >bad.txt
	fails_with 1 "vqa-tokenize: bad.txt:2: empty line, expected a piece" vqa-tokenize -V bad.txt list.json
	printf 'a\xff\n' >bad.txt
	fails_with 1 "vqa-tokenize: bad.txt: byte 1: not UTF-8, expected a piece a line" vqa-tokenize -V bad.txt list.json
	: >bad.txt
	fails_with 1 "vqa-tokenize: bad.txt: empty, expected a piece a line" vqa-tokenize -V bad.txt list.json
}

@test "full disk" {
	list
	fails_with 1 "vqa-tokenize: stdout: cannot write: No space left on device" bash -c 'vqa-tokenize list.json >/dev/full'
}

@test "marks that would have to be sorted, more than a word can have" {
	# U+1D16D goes behind U+1D165; each pair of them the wrong way round
	/usr/bin/python3 -c 'import json; print(json.dumps([{"question_id": i, "img_id": 1, "sent": "red " + "\U0001d16d" * 8000 + "\U0001d165" * 8000} for i in range(200)]))' >list.json
	timeout 15 vqa-tokenize list.json | vqa-dump | jq -c 'select(.type == "question").tokens.i32' | sort -u >got # 30 s where all are sorted
	[ "$(cat got)" = "[101,2417,100,102]" ]
}

@test "tokens as many as are asked for" {
	vqa-tokenize --max-tokens 5 -q 'what color is the shape?' -i 1 | vqa-dump >five
	[ "$(jq -c 'select(.type == "header").max_tokens, select(.type == "question").tokens.i32' five)" = $'5\n[101,2054,3609,2003,102]' ]
	long=$(printf 'a %.0s' {1..60})
	[ "$(vqa-tokenize --max-tokens 50 -q "$long" -i 1 | vqa-dump | jq 'select(.type == "question").tokens.i32 | length')" = 50 ]
	fails_with 2 "vqa-tokenize: option --max-tokens: '1' is not a whole number from 2 to 512" vqa-tokenize --max-tokens 1
}
