load helper

setup() {
	cd "$BATS_TEST_TMPDIR" || exit 1
	cat >labels.json <<-'END'
		[{"question_id": 1, "img_id": 1, "sent": "", "label": {"red": 1, "blue": 0.3}, "answer_type": "other"},
		 {"question_id": 2, "img_id": 1, "sent": "", "label": {"yes": 0.9}, "answer_type": "yes/no"},
		 {"question_id": 3, "img_id": 2, "sent": "", "label": {}, "answer_type": "number", "question_type": "how many"},
		 {"question_id": 4, "img_id": 2, "sent": "", "label": {"no": 1}, "answer_type": "yes/no"}]
	END
}

# results 'ID ANSWER' …: a submission file on stdout
results() {
	printf '%s\n' "$@" | jq -R 'split(" ") | {question_id: .[0] | tonumber, answer: .[1]}' | jq -s .
}

# annotation ID TYPE ANSWER…: an annotation in which these people answered
annotation() {
	local id=$1 type=$2
	shift 2
	jq -nc '{question_id: $id, image_id: 1, question_type: "what", answer_type: $type, multiple_choice_answer: $ARGS.positional[0],
		answers: [$ARGS.positional | to_entries[] | {answer: .value, answer_confidence: "yes", answer_id: (.key + 1)}]}' \
		--argjson id "$id" --arg type "$type" --args "$@"
}

@test "manners" {
	manners vqa-score
}

@test "by labels, as a table and as JSON" {
	results '4 no' '1 blue' '2 yes' '3 two' >a.json
	results '1 red' '2 no' '3 two' '4 no' >b.json
	vqa-score -l labels.json a.json b.json >got
	cat >want <<-'END'
		part	type	questions	a.json	b.json
		overall	all	4	0.550000	0.500000
		answerType	number	1	0.000000	0.000000
		answerType	other	1	0.300000	1.000000
		answerType	yes/no	2	0.950000	0.500000
		questionType	how many	1	0.000000	0.000000
	END
	diff want got
	[ "$(vqa-score --json -l labels.json a.json | jq -c .)" = \
		'{"questions":4,"accuracy":0.55,"perAnswerType":{"number":0,"other":0.3,"yes/no":0.95}}' ]
	[ "$(vqa-score --json -l labels.json a.json b.json | jq -c 'map([.file, .questions, .accuracy])')" = '[["a.json",4,0.55],["b.json",4,0.5]]' ]
	[ "$(vqa-score -l labels.json - <a.json | sed -n 2p | cut -f 3,4)" = $'4\t0.550000' ]
	vqa-score --per-question -l labels.json a.json b.json >got
	printf 'question_id\ta.json\tb.json\n1\t0.300000\t1.000000\n2\t0.900000\t0.000000\n3\t0.000000\t0.000000\n4\t1.000000\t1.000000\n' | diff - got
}

@test "questions without a type count in all alone" {
	jq 'map(if .question_id == 1 then del(.answer_type) else . end)' labels.json >some.json
	results '1 red' '2 yes' '3 two' '4 yes' >a.json
	[ "$(vqa-score --json -l some.json a.json | jq -c .)" = '{"questions":4,"accuracy":0.475,"perAnswerType":{"number":0,"yes/no":0.45}}' ]
	jq 'map(del(.answer_type, .question_type))' labels.json >none.json
	vqa-score -l none.json a.json | diff - <(printf 'part\ttype\tquestions\ta.json\noverall\tall\t4\t0.475000\n')
	echo '[]' >empty.json
	[ "$(vqa-score --json -l empty.json empty.json | jq -c .)" = '{"questions":0,"accuracy":0,"perAnswerType":{}}' ]
}

@test "the official accuracy: VQA's own figures, to the last digit" {
	vqa-score --json -a "$GOLDEN/score/annotations.json" "$GOLDEN/score/results.json" | jq -S . >got
	jq -S .accuracy "$GOLDEN/score/expected.json" | diff - got
	vqa-score --per-question -a "$GOLDEN/score/annotations.json" "$GOLDEN/score/results.json" >got
	[ "$(wc -l <got)" = 901 ]
	diff <(jq -r '.per_question | to_entries[] | "\(.key) \(.value)"' "$GOLDEN/score/expected.json" | sort) \
		<(sed 1d got | awk -F '\t' '{ print $1, $2 + 0 }' | sort)
	# the same in several files, without their order, out of a pipe
	jq -c '.annotations |= .[:300]' "$GOLDEN/score/annotations.json" >first.json
	jq -c '.annotations[300:] | reverse' "$GOLDEN/score/annotations.json" >rest.json
	cat rest.json | vqa-score --json -a first.json -a - "$GOLDEN/score/results.json" | jq -S . >got
	jq -S .accuracy "$GOLDEN/score/expected.json" | diff - got
}

@test "several files side by side" {
	jq 'map(.answer = "yes")' "$GOLDEN/score/results.json" >yes.json
	vqa-score --json -a "$GOLDEN/score/annotations.json" "$GOLDEN/score/results.json" yes.json >both
	[ "$(jq -c 'map(.file)' both)" = "[\"$GOLDEN/score/results.json\",\"yes.json\"]" ]
	diff <(jq -S '.[0] | del(.file)' both) <(jq -S .accuracy "$GOLDEN/score/expected.json")
	diff <(jq -S '.[1] | del(.file)' both) <(vqa-score --json -a "$GOLDEN/score/annotations.json" yes.json | jq -S .)
	vqa-score -a "$GOLDEN/score/annotations.json" "$GOLDEN/score/results.json" yes.json >table
	[ "$(head -1 table)" = $'part\ttype\tquestions\t'"$GOLDEN/score/results.json"$'\tyes.json' ]
	[ "$(sed -n 2p table | cut -f 1-4)" = $'overall\tall\t900\t55.79' ]
	diff <(awk -F '\t' 'NR > 2 && $1 == "questionType" { print $2, $5 + 0 }' table) \
		<(jq -r '.[1].perQuestionType | to_entries | sort_by(.key)[] | "\(.key) \(.value)"' both)
}

@test "the rules, one by one" {
	points() { # ANSWER PERSON…: what the answer has
		local answer=$1
		shift
		annotation 1 other "$@" | jq -s . >a.json
		jq -nc '[{question_id: 1, answer: $answer}]' --arg answer "$answer" >r.json
		vqa-score --per-question -a a.json r.json | tail -1 | cut -f 2
	}
	same=(yes yes yes yes yes yes yes yes yes yes)
	most=(yes yes yes yes yes yes yes no no no)
	[ "$(points yes "${same[@]}")" = 100.00 ]
	# where all said the same nothing but white space is made equal
	[ "$(points Yes. "${same[@]}")" = 0.00 ]
	[ "$(points $'\tyes\n' "${same[@]}")" = 100.00 ]
	[ "$(points Yes. "${most[@]}")" = 100.00 ]
	[ "$(points 'the NO!' "${most[@]}")" = 90.00 ]
	[ "$(points none "${most[@]}")" = 0.00 ]
	[ "$(points none 0 zero yes yes yes yes yes yes yes yes)" = 60.00 ]
	[ "$(points '1000' '1,000' yes yes yes yes yes yes yes yes yes)" = 30.00 ]
	# other numbers of people: the mean over them of a third for each of the others, at most 1
	[ "$(points a a)" = 0.00 ]
	[ "$(points b b c)" = 16.67 ]
}

@test "what the list could reach at best" {
	echo '["red", "no", "three"]' >answers.json
	[ "$(vqa-score --json --oracle -A answers.json -l labels.json | jq -c .)" = \
		'{"questions":4,"accuracy":0.5,"perAnswerType":{"number":0,"other":1,"yes/no":0.5}}' ]
	results '1 red' '2 yes' '3 two' '4 yes' >a.json
	vqa-score --per-question --oracle -A answers.json -l labels.json a.json >got
	printf 'question_id\ta.json\toracle\n1\t1.000000\t1.000000\n2\t0.900000\t0.000000\n3\t0.000000\t0.000000\n4\t0.000000\t1.000000\n' | diff - got
	# official: as if each answer of the list were submitted
	jq .answers "$GOLDEN/score/labels.json" >list.json
	vqa-score --per-question --oracle -A list.json -a "$GOLDEN/score/annotations.json" | sed 1d | sort >best
	jq -r '.[]' list.json | while IFS= read -r answer; do
		jq -c 'map(.answer = $answer)' --arg answer "$answer" "$GOLDEN/score/results.json" >one.json
		vqa-score --per-question -a "$GOLDEN/score/annotations.json" one.json | sed 1d
	done | awk -F '\t' -v OFS='\t' '!($1 in most) || $2 + 0 > most[$1] + 0 { most[$1] = $2 } END { for (k in most) print k, most[k] }' | sort | diff best -
	# a checkpoint has its list
	ckpt-init -L 1,1,1 -H 8 -n 2 -F 8 -f 5 -A answers.json tiny.safetensors
	diff <(vqa-score --oracle -A tiny -l labels.json) <(vqa-score --oracle -A answers.json -l labels.json)
	fails_with 2 "vqa-score: --oracle: expected with -A" vqa-score --oracle -l labels.json
	fails_with 2 "vqa-score: -A: expected with --oracle" vqa-score -A answers.json -l labels.json a.json
	fails_with 1 "vqa-score: none: no such checkpoint: neither a file, nor with .safetensors or .pth added, nor a run's folder" \
		vqa-score --oracle -A none -l labels.json
	for name in weights.pth weights-legacy.pth weights.safetensors; do
		fails_with 1 "vqa-score: $GOLDEN/softmax/$name: no vqa.config in its metadata, expected a checkpoint that names its answers" \
			vqa-score --oracle -A "$GOLDEN/softmax/$name" -l labels.json
	done
	echo '[1]' >bad.json
	fails_with 1 "vqa-score: bad.json: answer 0 is no string" vqa-score --oracle -A bad.json -l labels.json
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
	# a file that breaks off says that, whatever came before
	printf '[{"question_id": 9, "answer": "red"},\n{"question' >a.json
	fails_with 1 "vqa-score: a.json: breaks off at byte 48, inside entry 2 (line 2)" vqa-score -l labels.json a.json
	# the first fault, and how many more
	jq -c '. + . + [{question_id: 9, answer: ""}]' good.json >a.json
	fails_with 1 "vqa-score: a.json:1: entry 5 (byte 133): question_id 1 is there twice, first in entry 1; 4 more entries are at fault" \
		vqa-score -l labels.json a.json
	{ annotation 1 other a b; annotation 5 other a a; } | jq -s . >annotations.json
	fails_with 1 "vqa-score: good.json:6: entry 2 (byte 55): question_id 2 is not in annotations.json; 2 more entries are at fault" \
		vqa-score -a annotations.json good.json
	results '1 red' >a.json
	fails_with 1 "vqa-score: a.json: no answer to question 5 of annotations.json; 1 of its 2 questions have none" vqa-score -a annotations.json a.json
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
	echo '[{"question_id": "1", "answer": "red"}]' >a.json
	bad "'question_id' is '1', expected an integer"
	echo '[{"question_id": 9007199254740993, "answer": "red"}]' >a.json
	bad "'question_id' is 9007199254740993, expected an integer of at most 2^53"
	echo '[{"question_id": 1, "answer": NaN}]' >a.json
	bad "invalid token near 'NaN' before byte 33"
	echo '[{"question_id": 1, "answer": "a\u0000"}]' >a.json
	bad "'answer' has a NUL character in it, expected text"
	echo '{"question_id": 1, "answer": "red"}' >a.json
	fails_with 1 "vqa-score: a.json:1: byte 0: found '{', expected '[', a JSON list" vqa-score -l labels.json a.json
	head -c -3 good.json >a.json
	fails_with 1 "vqa-score: a.json: breaks off at byte $(wc -c <a.json), expected the list to go on or ']'" vqa-score -l labels.json a.json
	fails_with 1 "vqa-score: none.json: No such file or directory" vqa-score -l labels.json none.json
	fails_with 1 "vqa-score: none.json: No such file or directory" vqa-score -l none.json good.json
	jq 'map(if .question_id == 3 then del(.label) else . end)' labels.json | jq -c . >half.json
	status=0
	vqa-score -l half.json good.json >out 2>said || status=$?
	[ "$status" = 1 ]
	grep -Eqx "vqa-score: half.json:1: entry 3 \(byte [0-9]+\): 'label' is missing, expected an object of answers and scores" said
	fails_with 2 "vqa-score: neither labels nor annotations, expected -l FILE or -a FILE" vqa-score good.json
	fails_with 2 "vqa-score: -l and -a: expected one of them" vqa-score -l labels.json -a a.json good.json
	fails_with 2 "vqa-score: too few operands: found 0, expected FILE...; see vqa-score --help" vqa-score -l labels.json
	fails_with 2 "vqa-score: --json and --per-question: expected one of them" vqa-score --json --per-question -l labels.json good.json
	fails_with 1 "vqa-score: stdout: cannot write: No space left on device" bash -c 'vqa-score -l labels.json good.json >/dev/full'
}

@test "bad annotations" {
	results '1 a' >r.json
	bad() { # JQ-FILTER LINE: an annotation after the filter
		annotation 1 other a b | jq -c "[$1]" >a.json
		fails_with 1 "vqa-score: a.json:1: entry 1 (byte 1): $2" vqa-score -a a.json r.json
		[ ! -s fails_with.out ]
	}
	bad 'del(.question_id)' "'question_id' is missing, expected an integer"
	bad '.question_id = 1.5' "'question_id' is 1.5, expected an integer"
	bad 'del(.question_type)' "'question_type' is missing, expected a string"
	bad '.answer_type = null' "'answer_type' is null, expected a string"
	bad '.multiple_choice_answer = 3' "'multiple_choice_answer' is 3, expected a string"
	bad 'del(.answers)' "'answers' is missing, expected an array"
	bad '.answers = "a"' "'answers' is 'a', expected an array"
	bad '.answers = []' "'answers' has 0 entries, expected 1 to 100"
	bad '.answers = [range(101) | {answer: "a"}]' "'answers' has 101 entries, expected 1 to 100"
	bad '.answers[1] = "b"' "answer 2 is 'b', expected an object"
	bad '.answers[1].answer = 4' "'answer' is 4, expected a string"
	bad 'del(.answers[1].answer)' "'answer' is missing, expected a string"
	bad '.answers[1].answer = "\u0000"' "'answer' has a NUL character in it, expected text"
	bad '.answers[1].answer_id = 1' "answers 1 and 2 have the same answer_id, 1"
	annotation 1 other a b | jq -c '[., .]' >a.json
	fails_with 1 "vqa-score: a.json:1: entry 2 (byte $(($(head -c -3 a.json | wc -c) / 2 + 2))): question_id 1 is annotated twice" vqa-score -a a.json r.json
	annotation 1 other a b | jq -c '{info: 0, annotations: [.]}' | sed 's/"info":0/"info":NaN/' >a.json
	fails_with 1 "vqa-score: a.json:1: byte 8: invalid token near 'NaN' before byte 11" vqa-score -a a.json r.json
	annotation 1 other a b | jq -c '{annotations: [.], license: "x"}' | sed 's/"x"/Infinity/' >a.json
	status=0
	vqa-score -a a.json r.json >out 2>said || status=$?
	[ "$status" = 1 ] && [ ! -s out ]
	grep -q "^vqa-score: a.json:1: byte [0-9]*: invalid token near 'Infinity' before byte [0-9]*$" said
	echo '{"questions": []}' >a.json
	fails_with 1 "vqa-score: a.json: an object without 'annotations', expected it or a JSON list" vqa-score -a a.json r.json
	echo '{"annotations": {}}' >a.json
	fails_with 1 "vqa-score: a.json:1: byte 16: found '{', expected '[', a JSON list" vqa-score -a a.json r.json
	echo '{"annotations": [], "annotations": []}' >a.json
	fails_with 1 "vqa-score: a.json:1: byte 20: 'annotations' is there twice" vqa-score -a a.json r.json
	printf '{"annotations": [' >a.json
	fails_with 1 "vqa-score: a.json: breaks off at byte 17, expected the list to go on or ']'" vqa-score -a a.json r.json
	printf '{"annotations": []' >a.json
	fails_with 1 "vqa-score: a.json: breaks off at byte 18, expected the object around the list to go on" vqa-score -a a.json r.json
	{ printf '{"info": "'; head -c 1100000 /dev/zero | tr '\0' x; printf '"}'; } >a.json
	fails_with 1 "vqa-score: a.json:1: byte 9: over 1048576 bytes, expected a smaller entry" vqa-score -a a.json r.json
	{ printf '{"a": "'; head -c 700000 /dev/zero | tr '\0' x; printf '", "b": "'; head -c 700000 /dev/zero | tr '\0' x; printf '"}'; } >a.json
	fails_with 1 "vqa-score: a.json:1: byte 700015: over 1048576 bytes beside 'annotations', expected less" vqa-score -a a.json r.json
	fails_with 1 "vqa-score: none.json: No such file or directory" vqa-score -a none.json r.json
	annotation 1 other a b | jq -c '[.answer_type = "x" * 2000]' >a.json
	fails_with 1 "vqa-score: a.json: 'answer_type' of question 1 has 2000 bytes, expected at most 1024" vqa-score -a a.json r.json
	annotation 1 other a b | jq -c '. as $one | [range(1100) as $k | $one | .question_id = $k | .question_type = "\($k)"]' >a.json
	jq -c 'map({question_id, answer: "a"})' a.json >many.json
	fails_with 1 "vqa-score: a.json: over 1024 question types, expected fewer" vqa-score -a a.json many.json
}
