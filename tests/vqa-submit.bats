load helper

# stream 'PYTHON LIST OF (ID, ANSWER)' [END]: a stream of these answers; END is the end record's count, "none" for no end record.
stream() {
	/usr/bin/python3 - "$@" <<-'END'
		import msgpack, sys
		answers = eval(sys.argv[1])
		end = sys.argv[2] if len(sys.argv) > 2 else len(answers)
		put = lambda r: sys.stdout.buffer.write(msgpack.packb(r))
		put({"type": "header", "vqa": 1, "by": "test"})
		for id, answer in answers:
		    put({"type": "answer", "id": id, "answer": answer, "score": 0.5})
		put({"type": "note", "text": "of a type that nobody knows"})
		if end != "none":
		    put({"type": "end", "questions": int(end)})
	END
}

list() {
	echo '[{"question_id": 1, "img_id": 1, "sent": ""}, {"question_id": 2, "img_id": 1, "sent": ""}, {"question_id": 3, "img_id": 1, "sent": ""}]' >list.json
}

@test "manners" {
	manners vqa-submit
}

@test "byte for byte what Python writes" {
	answers='[(4580, "net"), (-1, "caf\u00e9 \"\\ / \x7f\x01\n\t\b\f\r"), (2**63 - 1, "\U0001f642\u6771"), (0, "")]'
	stream "$answers" | vqa-submit >got
	/usr/bin/python3 -c '
import json, sys
json.dump([{"question_id": i, "answer": a} for i, a in eval(sys.argv[1])], sys.stdout, indent=4, sort_keys=True)' "$answers" >want
	cmp got want
	[ "$(stream '[]' | vqa-submit)" = '[]' ]
}

@test "with a list: exactly its questions" {
	list
	stream '[(3, "a"), (1, "b"), (2, "c")]' | vqa-submit -q list.json >got
	[ "$(jq -c 'map(.question_id)' got)" = '[3,1,2]' ]
	stream '[(3, "a"), (4, "b")]' >in
	fails_with 1 "vqa-submit: stdin: record 3 (answer): id 4 is not in list.json" vqa-submit -q list.json <in
	[ ! -s fails_with.out ]
	stream '[(3, "a")]' >in
	fails_with 1 "vqa-submit: stdin: no answer to question 1 of list.json; 2 of its 3 questions have none" vqa-submit -q list.json <in
	[ ! -s fails_with.out ]
	# the first fault, and how many more there are
	stream '[(3, "a"), (4, "b"), (1, "c"), (5, "d"), (3, "e")]' >in
	fails_with 1 "vqa-submit: stdin: record 3 (answer): id 4 is not in list.json; 2 more answers are at fault" vqa-submit -q list.json <in
	[ ! -s fails_with.out ]
	stream '[(3, "a"), (3, "b"), (1, "c"), (1, "d")]' >in
	fails_with 1 "vqa-submit: stdin: record 3 (answer): id 3 is answered twice, first in answer 1; 1 more answers are at fault" vqa-submit -q list.json <in
	fails_with 1 "vqa-submit: none.json: No such file or directory" vqa-submit -q none.json <in
	echo '[{}]' >list.json
	fails_with 1 "vqa-submit: list.json:1: entry 1 (byte 1): 'question_id' is missing, expected an integer" vqa-submit -q list.json <in
}

@test "with VQA's own questions" {
	echo '{"info": {}, "data_subtype": "test2015", "questions": [{"image_id": 42, "question": "?", "question_id": 42000}, {"image_id": 1, "question": "?", "question_id": 1}]}' >list.json
	stream '[(1, "a"), (42000, "b")]' | vqa-submit -q list.json >got
	[ "$(jq -c 'map(.question_id)' got)" = '[1,42000]' ]
	stream '[(1, "a"), (42, "b")]' >in
	fails_with 1 "vqa-submit: stdin: record 3 (answer): id 42 is not in list.json" vqa-submit -q list.json <in
	stream '[(1, "a")]' >in
	fails_with 1 "vqa-submit: stdin: no answer to question 42000 of list.json; 1 of its 2 questions have none" vqa-submit -q list.json <in
}

@test "answers are kept in a file, not in memory" {
	[ -z "${VQA_SANITIZED:-}" ] || skip "a sanitizer's build has memory of its own"
	for n in 5000 60000; do
		/usr/bin/python3 "$ROOT/tests/questions.py" --questions $n >list.json
		/usr/bin/python3 "$ROOT/tests/questions.py" --questions $n --answers >in
		most_memory vqa-submit -q list.json <in >got
		[ "$(jq length got)" = $n ]
		cat most >>both
	done
	# the ids, twice, and the places of the list; an answer's text alone is 70 bytes
	[ "$(bytes_each 5000 60000 <both)" -le 80 ]
}

@test "no room for the answers" {
	stream '[(3, "a")]' >in
	fails_with 1 "vqa-submit: temporary file in 'none': No such file or directory" env TMPDIR=none vqa-submit <in
}

@test "nothing is written before all was right" {
	bad() {
		fails_with 1 "vqa-submit: stdin: $1" vqa-submit <in
		[ ! -s fails_with.out ]
	}
	stream '[(3, "a"), (3, "b")]' >in
	bad "record 3 (answer): id 3 is answered twice, first in answer 1"
	stream '[(3, "a")]' 2 >in
	bad "record 4 (end): 2 questions, but 1 answers came before it"
	stream '[(3, 4)]' >in
	bad "record 2 (answer): 'answer' has another type, expected a string"
	stream '[("3", "a")]' >in
	bad "record 2 (answer): 'id' has another type, expected an integer"
	stream '[(3, b"a")]' >in
	bad "record 2 (answer): 'answer' has another type, expected a string"
	stream '[(3, "a")]' none >in
	status=0
	vqa-submit <in >out 2>said || status=$?
	[ "$status" = 1 ]
	[ ! -s out ]
	grep -q '^vqa-submit: stdin: stream truncated' said
	: >in
	status=0
	vqa-submit <in >out 2>said || status=$?
	[ "$status" = 1 ]
	[ ! -s out ]
	grep -q '^vqa-submit: stdin: ' said
}

@test "questions instead of answers" {
	list
	vqa-tokenize list.json >in
	fails_with 1 "vqa-submit: stdin: record 5 (end): 3 questions, but 0 answers came before it" vqa-submit <in
}

@test "full disk" {
	stream '[(3, "a")]' >in
	fails_with 1 "vqa-submit: stdout: cannot write: No space left on device" bash -c 'vqa-submit <in >/dev/full'
	fails_with 2 "vqa-submit: too many operands: 'x' was not expected; see vqa-submit --help" vqa-submit x
}
