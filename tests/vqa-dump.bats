#!/usr/bin/env bats
# Records as JSON lines, and back to the same bytes.
load helper

# stream 'PYTHON': a stream whose records between header and end are put(…) by PYTHON; floats(…), halves(…), ints(…) are bin.
stream() {
	/usr/bin/python3 - "$1" <<-'END'
		import msgpack, struct, sys
		nan, inf = float("nan"), float("inf")
		floats = lambda *x: struct.pack("<%df" % len(x), *x)
		halves = lambda *x: struct.pack("<%de" % len(x), *x)
		ints = lambda *x: struct.pack("<%di" % len(x), *x)
		raw = sys.stdout.buffer.write
		put = lambda r, **more: raw(msgpack.packb(r, **more))
		put({"type": "header", "vqa": 1, "by": "test"})
		exec(sys.argv[1])
		put({"type": "end", "questions": 0})
	END
}

# round 'PYTHON': there and back the same bytes; the lines stay in `lines`.
round() {
	stream "$1" >in
	vqa-dump <in >lines
	vqa-dump -r <lines >back
	cmp in back
	[ "$(wc -l <lines)" -ge 3 ]
}

# line TEXT: the second record, as JSON, has this text
line() {
	sed -n 2p lines | grep -qF -- "$1"
}

# back_fails LINE JSON: the JSON line, between header and end, is refused with LINE.
back_fails() {
	{
		echo '{"type":"header","vqa":1,"by":"test"}'
		printf '%s\n' "$2"
		echo '{"type":"end","questions":0}'
	} >lines
	fails_with 1 "vqa-dump: stdin:2: $1" vqa-dump -r <lines
}

@test "manners" {
	manners vqa-dump
	fails_with 2 "vqa-dump: too many operands: 'x' was not expected; see vqa-dump --help" vqa-dump x
}

@test "questions, images, answers: the programs' own streams, there and back" {
	prepare
	vqa-tokenize questions.json >questions
	vqa-featload features.lmdb <questions >with-images
	vqa-forward -k 3 -l -a all tiny <with-images >answers
	for stream in questions with-images answers; do
		vqa-dump <$stream >lines
		vqa-dump -r <lines | cmp - $stream
		jq -e . <lines >/dev/null
	done
	records answer '(.attention["cross-vision.0"].f32 | length) > 0 and (.logits.f32 | length) == 13' <lines
	vqa-dump <with-images | records image '(.boxes.f32 | length) == 144 and .features.f32[0] != null'
	vqa-dump <questions | records question '.tokens.i32[0] == 101'
}

@test "batches: the stream of a training run, there and back" {
	[ -z "$VQA_SANITIZED" ] || skip "trainings run in the release build"
	prepare
	vqa-tokenize questions.json | vqa-featload features.lmdb | vqa-forward -t -b 4 tiny | tee forward | vqa-loss | tee loss |
		vqa-backward -g gradients >batches
	for stream in forward loss batches; do
		vqa-dump <$stream >lines
		vqa-dump -r <lines | cmp - $stream
		records batch '(.logits.f32 | length) == 52 and (.target | length) == 4 and (.target[0] | length) == 3' <lines
	done
	records batch '(.gradient.f32 | length) == 52' <lines
}

# Lines come as the records do, or the pipeline would wait for itself.
@test "a training run through vqa-dump and back is the same run" {
	[ -z "$VQA_SANITIZED" ] || skip "trainings run in the release build"
	prepare
	run_through() {
		vqa-tokenize questions.json | vqa-featload features.lmdb | vqa-forward -t -b 2 tiny | "$@" | vqa-loss | vqa-backward |
			vqa-step -o "$1" --lr 0.01 --schedule constant >log
	}
	lines() {
		vqa-dump | vqa-dump -r
	}
	run_through cat
	run_through lines
	[ "$(wc -l <log)" = 5 ]
	cmp cat/LAST.safetensors lines/LAST.safetensors
}

@test "halves" {
	round 'put({"type": "image", "dtype": {"features": "f16"}, "boxes": floats(0.1, 1), "features": halves(0.1, 65504, 6e-8, -0.0, inf, nan)})'
	line '"boxes":{"f32":[0.1,1.0]},"features":{"f16":[0.099975586,65504.0,5.9604645e-08,-0.0,"inf","nan"]}}'
	# A type that is not known here, and bytes that are no whole numbers, stay bytes.
	round 'put({"type": "image", "dtype": {"features": "bf16"}, "features": b"\1\2\3\4", "boxes": b"123", "tokens": b"", "blob": b"\0\xff"})'
	line '"features":{"bin":"AQIDBA=="},"boxes":{"bin":"MTIz"},"tokens":{"i32":[]},"blob":{"bin":"AP8="}}'
}

@test "numbers that are not finite" {
	round 'put({"type": "batch", "logits": floats(inf, -inf, nan, -nan, -0.0, 3.4028234663852886e38, 1e-45), "total": nan, "bce": -inf, "norm": inf, "span": -nan})'
	line '"logits":{"f32":["inf","-inf","nan","-nan",-0.0,'
	line '"total":{"f64":"nan"},"bce":{"f64":"-inf"},"norm":{"f64":"inf"},"span":{"f64":"-nan"}}'
}

@test "integers at the ends of their types, reals that look like them" {
	round 'put({"type": "x", "a": [2**63 - 1, -2**63, 2**63, 2**64 - 1, 0, -1, 127, 128, -32, -33, 2**32, 2**53 + 1]})'
	line '"a":[9223372036854775807,-9223372036854775808,{"u64":"9223372036854775808"},{"u64":"18446744073709551615"},0,'
	round 'put({"type": "question", "tokens": ints(-2**31, 2**31 - 1, 0)})'
	line '"tokens":{"i32":[-2147483648,2147483647,0]}'
	round 'put({"type": "x", "a": [1.0, -0.0, 0.1, 1e300, 5e-324, 1e15, 2.0**53, 1/3]})'
	round 'put({"type": "x", "a": [0.1, 1.0, inf, 16777216.0]}, use_single_float=True)'
	line '"a":[{"f32":0.1},{"f32":1.0},{"f32":"inf"},{"f32":16777216.0}]'
}

@test "unknown types and keys, and whatever else a record may hold" {
	round 'put({"note": {"deep": [[[[None, True, False, {}, [], "", b""]]]], "": 1}, "type": "of no known type", "x" * 300: 1})'
	round 'put({"type": "x", **{"key %d" % i: i for i in range(1000)}})'
	# The strings of a record are any text.
	round 'put({"type": "x", "a": "caf\u00e9 \"\\ / \x7f\x01\n\t\b\f\r\0 \U0001f642", "\t\"": "\\"})'
	jq -e . <lines >/dev/null
	[ "$(wc -l <lines)" = 3 ]
}

# An answer may be called "bin".
@test "maps that look like numbers and bytes" {
	round 'put({"type": "question", "label": {"bin": 1.0}, "a": {"f32": [1]}, "b": {"u64": "1"}, "c": {"map": {"map": 1}}, "d": {"bin": 1, "f32": 2}, "bin": 3})'
	line '"label":{"map":{"bin":1.0}},"a":{"map":{"f32":[1]}},"b":{"map":{"u64":"1"}},"c":{"map":{"map":{"map":{"map":1}}}},"d":{"bin":1,"f32":2}'
}

@test "what JSON cannot say is refused, not changed" {
	cannot() {
		stream "$2" >in
		fails_with 1 "vqa-dump: stdin: record 2 (x): $1" vqa-dump <in
	}
	cannot "a key is no string, which JSON cannot say" 'put({"type": "x", "a": {1: 2}})'
	cannot "a key is not UTF-8 without NUL, which JSON cannot say" 'put({"type": "x", "a\0": 2})'
	cannot "a key is not UTF-8 without NUL, which JSON cannot say" 'raw(b"\x82\xa4type\xa1x\xa1\xff\1")'
	cannot "'a' is not UTF-8 text, which JSON cannot say" 'raw(b"\x82\xa4type\xa1x\xa1a\xa1\xff")'
	cannot "'a' is of a type that JSON cannot say" 'put({"type": "x", "a": msgpack.ExtType(1, b"x")})'
}

@test "lines that are no records" {
	back_fails "byte 5: '[' or '{' expected near 'hello'" 'hello'
	back_fails "byte 1: '[' or '{' expected near end of file" ''
	back_fails "byte 18: unexpected newline near '\"a'" '{"type":"x","a":"a'
	back_fails "byte 18: duplicate object key near '\"type\"'" '{"type":"x","type":"y"}'
	back_fails "'type' is missing, expected a JSON object with a type" '{"id":1}'
	back_fails "'type' is missing, expected a JSON object with a type" '{"type":1}'
	back_fails "'type' is missing, expected a JSON object with a type" '["type","x"]'
	back_fails "byte 36: too big integer near '99999999999999999999'" '{"type":"x","a":99999999999999999999}'
	back_fails "'a': 'f16' is no array" '{"type":"x","a":{"b":{"f16":1}}}'
	back_fails "'a': 'f32' is no such number" '{"type":"x","a":{"f32":{"b":1}}}'
	back_fails "'a': element 1 of 'f32' is no such number" '{"type":"x","a":{"f32":[1,"two"]}}'
	back_fails "'a': element 0 of 'f32' is no such number" '{"type":"x","a":{"f32":[1e39]}}'
	back_fails "'a': element 2 of 'f16' is no such number" '{"type":"x","a":{"f16":[1,"inf",65520]}}'
	back_fails "'a': element 0 of 'i32' is no such number" '{"type":"x","a":{"i32":[1.5]}}'
	back_fails "'a': element 1 of 'i32' is no such number" '{"type":"x","a":{"i32":[1,2147483648]}}'
	back_fails "'a': element 0 of 'i32' is no such number" '{"type":"x","a":{"i32":["nan"]}}'
	back_fails "'a': 'f64' is no such number" '{"type":"x","a":{"f64":"much"}}'
	back_fails "'a': 'u64' is no string of a whole number to 18446744073709551615" '{"type":"x","a":{"u64":"18446744073709551616"}}'
	back_fails "'a': 'u64' is no string of a whole number to 18446744073709551615" '{"type":"x","a":{"u64":"-1"}}'
	back_fails "'a': 'u64' is no string of a whole number to 18446744073709551615" '{"type":"x","a":{"u64":1}}'
	back_fails "'a': 'bin' is no base64" '{"type":"x","a":{"bin":"AQ="}}'
	back_fails "'a': 'bin' is no base64" '{"type":"x","a":{"bin":1}}'
}

# What is written here can be read: the same depth on both ways.
@test "as deep as a record may be, and deeper" {
	nested() {
		printf '{"type":"x","a":%s1%s}' "$(printf '[%.0s' $(seq "$1"))" "$(printf ']%.0s' $(seq "$1"))"
	}
	{ echo '{"type":"header","vqa":1,"by":"test"}' && nested 14 && printf '\n{"type":"end","questions":0}\n'; } >lines
	vqa-dump -r <lines | vqa-dump | cmp - lines
	back_fails "'a': nested deeper than 16 levels" "$(nested 15)"
	back_fails "'a': nested deeper than 16 levels" "$(nested 1000)"
}

@test "lines that break off" {
	fails_with 1 "vqa-dump: stdin: truncated after line 0, expected an end record" vqa-dump -r </dev/null
	stream 'put({"type": "x", "a": [1, 2, 3]})' | vqa-dump >lines
	size=$(stat -c %s lines)
	end=$(tail -n 1 lines | wc -c)
	for n in $(seq 1 $((size - 2))); do
		head -c "$n" lines >cut
		status=0
		vqa-dump -r <cut >out 2>said || status=$?
		[ "$status" = 1 ]
		[ "$(wc -l <said)" = 1 ]
		grep -q '^vqa-dump: stdin:' said
		# No end record came out.
		if vqa-dump <out >/dev/null 2>&1; then
			return 1
		fi
	done
	head -n 2 lines >cut
	fails_with 1 "vqa-dump: stdin: truncated after line 2, expected an end record" vqa-dump -r <cut
	{ cat lines && echo '{"type":"x"}'; } >more
	fails_with 1 "vqa-dump: stdin:4: follows the end record" vqa-dump -r <more
	# The last newline may be missing: the line is whole.
	head -c $((size - 1)) lines >cut
	vqa-dump -r <cut | vqa-dump | cmp - lines
}

@test "a line without an end is not read into memory for ever" {
	status=0
	timeout 60 vqa-dump -r </dev/zero >out 2>said || status=$?
	[ "$status" = 1 ]
	[ "$(cat said)" = "vqa-dump: stdin:1: a line of over 268435456 bytes" ]
}

@test "the end is printed only when nothing follows it" {
	stream '' >in
	{ cat in && printf x; } >more
	fails_with 1 "vqa-dump: stdin: record 3 follows the end record" vqa-dump <more
	[ "$(jq -r .type fails_with.out)" = header ]
}

@test "a full disk" {
	stream '' >in
	fails_with 1 "vqa-dump: stdout: cannot write: No space left on device" bash -c 'vqa-dump <in >/dev/full'
	vqa-dump <in >lines
	fails_with 1 "vqa-dump: stdout: cannot write: No space left on device" bash -c 'vqa-dump -r <lines >/dev/full'
}
