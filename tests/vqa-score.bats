load helper

setup() {
	cd "$BATS_TEST_TMPDIR" || exit 1
	cat >labels.json <<-'END'
		[{"question_id": 1, "img_id": 1, "sent": "", "label": {"red": 1, "blue": 0.3}, "answer_type": "other"},
		 {"question_id": 2, "img_id": 1, "sent": "", "label": {"yes": 0.9}, "answer_type": "yes/no"},
		 {"question_id": 3, "img_id": 2, "sent": "", "label": {}, "answer_type": "number"},
		 {"question_id": 4, "img_id": 2, "sent": "", "label": {"no": 1}, "answer_type": "yes/no"}]
	END
}

# results 'ID ANSWER' …: a submission file on stdout
results() {
	printf '%s\n' "$@" | jq -R 'split(" ") | {question_id: .[0] | tonumber, answer: .[1]}' | jq -s .
}

@test "manners" {
	manners vqa-score
}

@test "accuracy, as a table and as JSON" {
	results '4 no' '1 blue' '2 yes' '3 two' >a.json
	results '1 red' '2 no' '3 two' '4 no' >b.json
	vqa-score -l labels.json a.json b.json >got
	printf 'file\tquestions\taccuracy\tnumber\tother\tyes/no\na.json\t4\t0.550000\t0.000000\t0.300000\t0.950000\nb.json\t4\t0.500000\t0.000000\t1.000000\t0.500000\n' >want
	diff want got
	[ "$(vqa-score --json -l labels.json a.json | jq -c .)" = \
		'{"questions":4,"accuracy":0.55,"perAnswerType":{"number":0,"other":0.3,"yes/no":0.95}}' ]
	[ "$(vqa-score --json -l labels.json a.json b.json | jq -c 'map([.file, .questions, .accuracy])')" = '[["a.json",4,0.55],["b.json",4,0.5]]' ]
	[ "$(vqa-score -l labels.json - <a.json | tail -1 | cut -f 2,3)" = $'4\t0.550000' ]
}

@test "questions without a type count in all alone" {
	jq 'map(if .question_id == 1 then del(.answer_type) else . end)' labels.json >some.json
	results '1 red' '2 yes' '3 two' '4 yes' >a.json
	[ "$(vqa-score --json -l some.json a.json | jq -c .)" = '{"questions":4,"accuracy":0.475,"perAnswerType":{"number":0,"yes/no":0.45}}' ]
	jq 'map(del(.answer_type))' labels.json >none.json
	[ "$(vqa-score -l none.json a.json | head -1)" = $'file\tquestions\taccuracy' ]
	echo '[]' >empty.json
	[ "$(vqa-score --json -l empty.json empty.json | jq -c .)" = '{"questions":0,"accuracy":0,"perAnswerType":{}}' ]
}

@test "every question once" {
	results '1 red' '2 yes' >a.json
	fails_with 1 "vqa-score: a.json: no answer to question 3 of labels.json; 2 of its 4 questions have none" vqa-score -l labels.json a.json
	[ ! -s fails_with.out ]
	printf '[{"question_id": 1, "answer": "red"},\n{"question_id": 1, "answer": "red"}]' >a.json
	fails_with 1 "vqa-score: a.json:2: entry 2 (byte 38): question_id 1 is there twice, first in entry 1" vqa-score -l labels.json a.json
	printf '[{"question_id": 9, "answer": "red"}]' >a.json
	fails_with 1 "vqa-score: a.json:1: entry 1 (byte 1): question_id 9 is not in labels.json" vqa-score -l labels.json a.json
	results '1 red' '2 yes' '3 two' '4 yes' >good.json
	fails_with 1 "vqa-score: a.json:1: entry 1 (byte 1): question_id 9 is not in labels.json" vqa-score -l labels.json good.json a.json
	[ ! -s fails_with.out ]
}

@test "bad files" {
	results '1 red' '2 yes' '3 two' '4 yes' >good.json
	bad() {
		fails_with 1 "vqa-score: a.json:1: entry 1 (byte 1): $1" vqa-score -l labels.json a.json
	}
	echo '[{"answer": "red"}]' >a.json
	bad "'question_id' is missing, expected an integer"
	echo '[{"question_id": 1}]' >a.json
	bad "'answer' is missing, expected a string"
	echo '[{"question_id": 1, "answer": 3}]' >a.json
	bad "'answer' is 3, expected a string"
	echo '[{"question_id": 1, "answer": "a\u0000"}]' >a.json
	bad "'answer' has a NUL character in it, expected text"
	printf '[{"question_id": 1, "ans' >a.json
	fails_with 1 "vqa-score: a.json: breaks off at byte 24, inside entry 1 (line 1)" vqa-score -l labels.json a.json
	: >a.json
	fails_with 1 "vqa-score: a.json: breaks off at byte 0, expected a JSON list" vqa-score -l labels.json a.json
	fails_with 1 "vqa-score: none.json: No such file or directory" vqa-score -l labels.json none.json
	jq 'map(if .question_id == 3 then del(.label) else . end)' labels.json | jq -c . >half.json
	status=0
	vqa-score -l half.json good.json >out 2>said || status=$?
	[ "$status" = 1 ]
	grep -Eqx "vqa-score: half.json:1: entry 3 \(byte [0-9]+\): 'label' is missing, expected an object of answers and scores" said
	fails_with 2 "vqa-score: no labels, expected -l FILE" vqa-score good.json
	fails_with 1 "vqa-score: stdout: cannot write: No space left on device" bash -c 'vqa-score -l labels.json good.json >/dev/full'
}
