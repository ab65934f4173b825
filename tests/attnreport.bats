#!/usr/bin/env bats
# Attention's figures against their definitions, over weights that are known; pictures of it; records that are not as they should be.
load helper

# stream 'PYTHON': a stream of one answer to question 5, and of more. put(name, heads, queries, keys, weights) adds a matrix; answer is
# the record.
stream() {
	/usr/bin/python3 - "$1" <<-'END'
		import math, msgpack, struct, sys
		floats = lambda *x: struct.pack("<%df" % len(x), *x)
		answer = {"type": "answer", "id": 5, "answer": "red", "index": 0, "score": 0.9, "attention": {}, "attention_shape": {}}
		def put(name, heads, queries, keys, weights):
		    answer["attention"][name] = floats(*weights)
		    answer["attention_shape"][name] = [heads, queries, keys]
		more = []
		exec(sys.argv[1])
		send = lambda r: sys.stdout.buffer.write(msgpack.packb(r, use_bin_type=True))
		send({"type": "header", "vqa": 1, "by": "test"})
		for record in [answer] + more:
		    send(record)
		send({"type": "end", "questions": 1})
	END
}

# bad MESSAGE 'PYTHON' [OPTION…]
bad() {
	stream "$2" >in
	fails_with 1 "attnreport: stdin: record 2 (answer): $1" attnreport "${@:3}" <in
}

# Four boxes, the quarters of the picture, in reading order.
quarters='answer["boxes"] = floats(0, 0, .5, .5, .5, 0, 1, .5, 0, .5, .5, 1, .5, .5, 1, 1)'

@test "manners" {
	manners attnreport
	fails_with 1 "attnreport: stdin: stream truncated: it is empty, expected a header" attnreport </dev/null
}

@test "figures of weights that are known" {
	stream 'put("self-language.0", 2, 3, 3, [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 1, 0, 0, 0, 1, .5, .5, 0])
put("cross-vision.1", 1, 2, 4, [.25, .25, .25, .25, 1, 0, 0, 0])
put("self-vision.2", 1, 1, 1, [1])' >in
	attnreport <in >got
	diff - got <<-END
		question	attention	head	entropy	support	cls_entropy	self	next	previous
		5	self-language.0	0	0.000000	1.0000	0.000000	1.000000	0.000000	0.000000
		5	self-language.0	1	0.231049	1.3333	0.000000	0.000000	1.000000	0.250000
		5	cross-vision.1	0	0.693147	2.5000	nan	nan	nan	nan
		5	self-vision.2	0	0.000000	1.0000	nan	1.000000	nan	nan
	END
	[ "$(attnreport -a self-language --head 1 <in | wc -l)" = 2 ]
	[ "$(attnreport -a self-vision,cross-vision.1 <in | cut -f 2 | tr '\n' ' ')" = 'attention cross-vision.1 self-vision.2 ' ]
	[ "$(attnreport -q 6 <in | wc -l)" = 1 ]
	[ "$(attnreport --raw -a cross-vision --query 1 <in | tr '\t\n' '  ')" = 'question attention head query key weight 5 cross-vision.1 0 1 0 1 5 cross-vision.1 0 1 1 0 5 cross-vision.1 0 1 2 0 5 cross-vision.1 0 1 3 0 ' ]
	fails_with 1 "attnreport: stdout: cannot write: No space left on device" bash -c 'attnreport <in >/dev/full'
}

# Every figure of every head of a real model once more, of what vqa-dump prints; entmax makes support less than all.
@test "figures of a model's attention, by their definitions" {
	prepare
	ckpt-init -L 1,2,1 -H 32 -n 4 -F 64 -f 360 -s -a --init-range 1 -A answers.json model.safetensors
	vqa-tokenize questions.json | vqa-featload features.lmdb | vqa-forward -a all model >in
	attnreport <in >got
	vqa-dump <in >lines
	attnreport --raw -q 1 -a cross-language.1 <in >raw
	python "
want = []
for record in map(json.loads, open('lines')):
    for name, (H, Q, K) in record.get('attention_shape', {}).items():
        p = record['attention'][name]['f32']
        for h in range(H):
            rows = [p[(h * Q + q) * K:][:K] for q in range(Q)]
            entropies = [-sum(w * math.log(w) for w in row if w > 0) for row in rows]
            away = lambda d: [rows[q][q + d] for q in range(Q) if 0 <= q + d < K]
            mean = lambda x: sum(x) / len(x)
            itself = [mean(away(d)) for d in (0, 1, -1)] if 'self-' in name else [math.nan] * 3
            want.append((str(record['id']), name, str(h), mean(entropies), mean([sum(w > 0 for w in row) for row in rows]),
                         math.nan if name.split('.')[0].endswith('vision') else entropies[0], *itself))
got = [line.rstrip('\n').split('\t') for line in open('got')][1:]
assert len(got) == len(want) == 8 * 4 * (1 + 1 + 2 * 4), (len(got), len(want))
sparse = 0
for g, w in zip(got, want):
    assert tuple(g[:3]) == w[:3], (g, w)
    for a, b in zip(g[3:], w[3:]):
        assert (a == 'nan' and math.isnan(b)) or abs(float(a) - b) < 6e-5, (g, w)
    sparse += float(g[4]) < 8
assert sparse > 0
raw = [line.rstrip('\n').split('\t') for line in open('raw')][1:]
record = [r for r in map(json.loads, open('lines')) if r.get('id') == 1][0]
f32 = lambda x: struct.pack('<%df' % len(x), *x)
assert f32([float(r[5]) for r in raw]) == f32(record['attention']['cross-language.1']['f32'])"
}

# Over three answers of which one has another number of heads, and one no matrix at all; in the order of the kinds.
@test "means over the questions" {
	/usr/bin/python3 - >in <<-'END'
		import msgpack, struct, sys
		send = lambda r: sys.stdout.buffer.write(msgpack.packb(r, use_bin_type=True))
		def answer(id, **maps):
		    maps = {k.replace("_", "-") + ".1": v for k, v in maps.items()}
		    send({"type": "answer", "id": id, "answer": "", "attention": {k: struct.pack("<%df" % len(w), *w) for k, (s, w) in maps.items()},
		          "attention_shape": {k: s for k, (s, w) in maps.items()}})
		send({"type": "header", "vqa": 1, "by": "test"})
		answer(1, self_vision=([1, 1, 2], [1, 0]), self_language=([1, 2, 2], [1, 0, 1, 0]))
		answer(2, self_language=([2, 1, 2], [.5, .5, 0, 1]))
		answer(3)
		send({"type": "end", "questions": 3})
	END
	attnreport -m <in | diff - <(
		printf 'question\tattention\thead\tentropy\tsupport\tcls_entropy\tself\tnext\tprevious\n'
		printf 'all\tself-language.1\t0\t0.346574\t1.5000\t0.346574\t0.500000\t0.250000\t1.000000\n'
		printf 'all\tself-language.1\t1\t0.000000\t1.0000\t0.000000\t0.000000\t1.000000\tnan\n'
		printf 'all\tself-vision.1\t0\t0.000000\t1.0000\tnan\t1.000000\t0.000000\tnan\n')
	attnreport -m -q 2 --head 1 <in | cut -f 2,3 | tail -n +2 | diff - <(printf 'self-language.1\t1\n')
	attnreport -m -p x.svg <in
	grep -q 'self-vision' x.svg
	attnreport --mean -p x.png <in
	fails_with 1 "attnreport: no attention was read, so there is nothing to draw" attnreport -m -p y.png -q 3 <in
	for option in --mean --raw --head=0; do
		fails_with 1 "attnreport: stdin: no answer to question 4" attnreport $option -q 4 <in
	done
	# A table with nothing in it is none.
	fails_with 1 "attnreport: stdin: no answer has attention 'all' of head 9" attnreport --head 9 <in
	fails_with 1 "attnreport: stdin: no answer has attention 'self-language.7'" attnreport -a self-language.7 <in
}

@test "answers with attention say what they are about" {
	prepare
	vqa-tokenize questions.json | vqa-featload features.lmdb | tee stream | vqa-forward -a self-vision tiny | vqa-dump >answers
	vqa-dump <stream >asked
	jq -s '[.[] | select(.type == "question") | [.id, .image, .sent]]' asked >want
	jq -s '[.[] | select(.type == "answer") | [.id, .image, .sent]]' answers | diff want -
	diff <(jq -c 'select(.type == "image").boxes' asked | sort -u) <(jq -c 'select(.type == "answer").boxes' answers | sort -u)
	# Without -a they do not; a sentence that is too long is left out, one of another type too.
	vqa-forward tiny <stream | vqa-dump | jq -es '[.[] | select(.type == "answer") | has("boxes") or has("sent") or has("image")] | length > 0 and (any | not)'
	jq -c 'if .type == "question" then .sent = (if .id == 0 then "x" * 4097 elif .id == 1 then 7 else "é" * 2048 end) else . end' asked |
		vqa-dump -r | vqa-forward -a self-vision tiny | vqa-dump | jq -s '[.[] | select(.type == "answer") | .sent | length] | unique' | jq -e '. == ([0, 2048])'
}

@test "records that are not as they should be" {
	bad "'attention' is missing, expected a map as vqa-forward -a writes it" 'del answer["attention"]'
	bad "'attention' has another type, expected a map as vqa-forward -a writes it" 'answer["attention"] = 3'
	bad "'attention_shape' is missing, expected a map as vqa-forward -a writes it" 'put("self-vision.0", 1, 1, 1, [1]); del answer["attention_shape"]'
	bad "'attention' has 'self-vision', expected names as cross-language.0" 'put("self-vision", 1, 1, 1, [1])'
	bad "'attention' has 'self-vision.256', expected names as cross-language.0" 'put("self-vision.256", 1, 1, 1, [1])'
	bad "'attention' has 'self-vision.00', expected names as cross-language.0" 'put("self-vision.00", 1, 1, 1, [1])'
	bad "'attention' has 'a?b', expected names as cross-language.0" 'put("a\nb", 1, 1, 1, [1])'
	bad "'attention' has 'a key that is no string', expected names as cross-language.0" 'put(7, 1, 1, 1, [1])'
	bad "'attention_shape' has no self-vision.0" 'put("self-vision.0", 1, 1, 1, [1]); answer["attention_shape"] = {"self-vision.1": [1, 1, 1]}'
	bad "'attention_shape' of self-vision.0 is no array of 3 integers" 'put("self-vision.0", 1, 1, 1, [1]); answer["attention_shape"]["self-vision.0"] = [1, 1]'
	bad "'attention_shape' of self-vision.0: size 0 is no integer from 1 to 1024" 'put("self-vision.0", 0, 1, 1, [1])'
	bad "'attention_shape' of self-vision.0: size 1 is no integer from 1 to 1024" 'put("self-vision.0", 1, 1025, 1, [1])'
	bad "'attention_shape' of self-vision.0: size 2 is no integer from 1 to 1024" 'put("self-vision.0", 1, 1, 2**63, [1])'
	bad "self-vision.0: not the 8 bytes of float32 (bin) that [1, 1, 2] needs" 'put("self-vision.0", 1, 1, 2, [1])'
	bad "self-vision.0: not the 4 bytes of float32 (bin) that [1, 1, 1] needs" 'put("self-vision.0", 1, 1, 1, [1]); answer["attention"]["self-vision.0"] = "text"'
	bad "self-vision.0: head 0, query 1, key 0 is nan, expected 0 to 1" 'put("self-vision.0", 1, 2, 1, [1, math.nan])'
	bad "self-vision.0: head 1, query 0, key 0 is -0.5, expected 0 to 1" 'put("self-vision.0", 2, 1, 1, [1, -.5])'
	bad "self-vision.0: head 0, query 0, key 0 is 1.5, expected 0 to 1" 'put("self-vision.0", 1, 1, 1, [1.5])'
	bad "'attention' has 1537 matrices, expected at most 1536" 'answer["attention"] = {str(i): 0 for i in range(1537)}'
	bad "'id' is missing, expected an integer" 'del answer["id"]'
	stream 'put("self-vision.0", 1, 1, 1, [1])' | head -c -10 >in
	fails_with 1 "attnreport: stdin: stream truncated inside record 3, after 11 bytes of it" attnreport <in
}

@test "records that cannot be drawn" {
	bad "question 5 has no attention 'cross-language'" 'put("self-vision.0", 1, 1, 1, [1])' -p x.png -a cross-language
	bad "the keys of cross-vision.0 are words, expected an attention to regions to be drawn" 'put("cross-vision.0", 1, 1, 1, [1])' -p x.png
	bad "self-vision.0 has 1 heads, but head 1 is asked for" 'put("self-vision.0", 1, 1, 1, [1])' -p x.png --head 1
	bad "self-vision.0 has 1 queries, but query 2 is asked for" 'put("self-vision.0", 1, 1, 1, [1])' -p x.png --query 2
	bad "'boxes' is missing, expected float32 values (bin)" 'put("self-vision.0", 1, 1, 1, [1])' -p x.png
	bad "'boxes' has 16 values, expected 4 for each of the 1 keys of self-vision.0" "put('self-vision.0', 1, 1, 1, [1]); $quarters" -p x.png
	bad "box of region 0: column 2 is 2, expected 0 to 1" 'put("self-vision.0", 1, 1, 1, [1]); answer["boxes"] = floats(0, 0, 2, 1)' -p x.png
	bad "'top' has another type, expected an array of [answer, score]" "put('self-vision.0', 1, 1, 4, [1, 0, 0, 0]); $quarters; answer['top'] = 1" -p x.png
	for top in '["red"]' '[["red"]]' '[[1, 0.5]]' '[["red", "x"]]' '[["red", 2.0]]' '[["red", math.nan]]'; do
		bad "'top' has an element 0 that is no [answer, score from 0 to 1]" "put('self-vision.0', 1, 1, 4, [1, 0, 0, 0]); $quarters; answer['top'] = $top" -p x.png
	done
	bad "'sent' has another type, expected a string" "put('self-vision.0', 1, 1, 4, [1, 0, 0, 0]); $quarters; answer['sent'] = 1" -p x.png
	[ ! -e x.png ]
	stream 'put("self-vision.0", 1, 1, 1, [1])' >in
	fails_with 1 "attnreport: stdin: no answer to question 6" attnreport -p x.png -q 6 <in
	fails_with 2 "attnreport: option --raw does not go with -m or -p" attnreport -p x.png --raw
	fails_with 2 "attnreport: option --raw does not go with -m or -p" attnreport -m --raw
	fails_with 2 "attnreport: option --picture goes with -p, and not with -m" attnreport --picture x.png
	fails_with 2 "attnreport: option --query goes with -p or --raw, and not with -m" attnreport --query 1
	fails_with 2 "attnreport: option --query goes with -p or --raw, and not with -m" attnreport -m -p x.png --query 1
	fails_with 2 "attnreport: option -q: 'x' is not a whole number" attnreport -q x
	fails_with 2 "attnreport: option -a: no attention 'self', expected all, self-language, self-vision, cross-language, cross-vision, cross-self-language or cross-self-vision, or one of these with .LAYER" attnreport -a self
}

# A gnuplot that keeps what it is told.
listener() {
	mkdir -p path
	printf '#!/bin/sh\ncat >"%s/script"\necho drawn\n' "$PWD" >path/gnuplot
	chmod +x path/gnuplot
	export PATH=$PWD/path:$PATH
}

# The opacity of the darkness over a point, from 0 to 1 each way from the upper left, of a 100 x 100 picture.
dark() {
	awk -v x="$1" -v y="$2" '/^\$shade/ { on = 1; next } /^END/ { on = 0 }
		on { d = ($1 + 0.5 - 100 * x) ^ 2 + ($2 + 0.5 - 100 * (1 - y)) ^ 2; if (best == "" || d < best) { best = d; is = $6 } } END { print is }' script
}

@test "what is looked at is bright" {
	listener
	stream "put('cross-language.0', 2, 2, 4, [1, 0, 0, 0, 0, 0, 0, 1, .5, 0, .5, 0, 0, 1, 0, 0]); $quarters" >in
	attnreport -p x.png <in
	[ "$(cat x.png)" = drawn ]
	# [CLS], both heads: .75, 0, .25, 0.
	[ "$(dark .25 .25) $(dark .75 .25) $(dark .25 .75) $(dark .75 .75)" = '0 205 137 205' ]
	attnreport -p x.png --head 0 --query 1 <in
	[ "$(dark .25 .25) $(dark .75 .25) $(dark .25 .75) $(dark .75 .75)" = '205 205 205 0' ]
	stream "put('self-vision.0', 1, 4, 4, [0, 1, 0, 0] * 3 + [0, 0, 0, 1]); $quarters" >in
	attnreport -p x.png <in
	[ "$(dark .25 .25) $(dark .75 .25) $(dark .25 .75) $(dark .75 .75)" = '205 0 205 137' ]
	# The frame is the region's, from the picture's lower left.
	grep -q '^set object 1 rectangle from 49.5,49.5 to 99.5,99.5 ' script
	# One answer is drawn, whatever follows.
	cp script first
	stream "put('self-vision.0', 1, 4, 4, [0, 1, 0, 0] * 3 + [0, 0, 0, 1]); $quarters; more = [answer, dict(answer, id=6)]" >in
	attnreport -p x.png -q 5 <in
	cmp first script
	attnreport -p x.png <in
	cmp first script
	# Where nothing is looked at, all is dark and nothing is framed.
	stream "put('self-vision.0', 1, 1, 4, [0, 0, 0, 0]); $quarters" >in
	attnreport -p x.png <in
	[ "$(dark .25 .25) $(grep -c '^set object' script || true)" = '205 0' ]
}

# All that is not between single quotes is ours, and there is no such quote within: whatever the question or an answer is.
@test "text cannot reach gnuplot" {
	for text in "'; system('touch ran'); '" '`touch ran`' '"; system("touch ran")' "'" "''" "\\" "\\'" '@x $0 %s {/Bold a}' 'a\nb' $'a\tb\x7f' "$(printf "%0300d" 0 | tr 0 "'")"; do
		export TEXT=$text
		stream "import os; put('self-vision.0', 1, 1, 4, [1, 0, 0, 0]); $quarters; answer['sent'] = answer['answer'] = os.environ['TEXT']
answer['top'] = [[os.environ['TEXT'], .5], ['b', .25]]" >in
		attnreport -p x.svg <in
		[ ! -e ran ]
		[ "$(find . -type f | sort | tr '\n' ' ')" = './in ./x.svg ' ]
		rm x.svg
	done
	listener
	TEXT=$'it\'s \n`x`' && export TEXT
	stream "import os; put('self-vision.0', 1, 1, 4, [1, 0, 0, 0]); $quarters; answer['sent'] = os.environ['TEXT']" >in
	attnreport -p x.svg <in
	grep -qxF "set multiplot title 'it’s ?\`x\`' font ',12'" script
}

@test "text does not break an SVG" {
	export TEXT=$'</text><script>x</script> ]]> &amp; ]]]>\xef\xbf\xbe'
	stream "import os; put('self-vision.0', 1, 1, 4, [1, 0, 0, 0]); $quarters
answer['sent'] = answer['answer'] = os.environ['TEXT']" >in
	attnreport -p x.svg <in
	/usr/bin/python3 -c 'import xml.dom.minidom; tree = xml.dom.minidom.parse("x.svg")
assert not tree.getElementsByTagName("script")
texts = ["".join(t.data for t in e.childNodes if t.nodeType == t.TEXT_NODE) for e in tree.getElementsByTagName("text")]
assert any("</text><script>x</script> ]] > &amp; ]]] >?" in t for t in texts), texts'
}

@test "answers with per cent signs" {
	for text in 100% '%s of %n' '%%'; do
		export TEXT=$text
		stream "import os; put('self-vision.0', 1, 1, 4, [1, 0, 0, 0]); $quarters
answer['sent'] = os.environ['TEXT'] + '?'; answer['top'] = [[os.environ['TEXT'], .5], ['b', .25]]" >in
		attnreport -p x.svg <in
		tr -d '\n\t' <x.svg >text
		grep -qF ">$text<" text
		grep -qF ">$text?<" text
	done
}

@test "over a picture: PNG and JPEG" {
	prepare
	vqa-tokenize questions.json | vqa-featload features.lmdb | vqa-forward -k 5 -a cross-language tiny >in
	attnreport -p x.png --picture images/0.png <in
	[ "$(head -c 8 x.png | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ]
	echo "set terminal jpeg size 120,60; set output 'x.jpg'; plot x" | gnuplot -d
	attnreport -p y.png --picture x.jpg -q 1 <in
	cmp -s x.png y.png && return 1
	# A frame header far behind, as cameras have it.
	/usr/bin/python3 -c "b = open('x.jpg', 'rb').read(); open('far.jpg', 'wb').write(b[:2] + 3 * (b'\xff\xed\xff\xff' + bytes(65533)) + b[2:])"
	attnreport -p far.svg --picture far.jpg <in
	attnreport -p x.svg --picture x.jpg <in
	cmp far.svg x.svg
	for text in 'what is the red shape?' 'cross-language.0, mean of 4 heads, \[CLS\]' circle score; do
		grep -q ">$text<" <(tr -d '\n\t' <x.svg)
	done
	listener
	attnreport -p x.png --picture x.jpg <in
	grep -q "^plot '/dev/fd/3' binary filetype=jpeg with rgbimage" script
	grep -qx 'set xrange \[-0.5:119.5\]' script
	grep -qx 'set yrange \[-0.5:59.5\]' script
}

@test "pictures that are none" {
	fails_with 1 "attnreport: none.png: cannot open: No such file or directory" attnreport -p x.png --picture none.png
	fails_with 1 "attnreport: /dev/zero: no regular file, expected a PNG or JPEG picture" attnreport -p x.png --picture /dev/zero
	: >x
	fails_with 1 "attnreport: x: neither a PNG nor a JPEG picture" attnreport -p x.png --picture x
	printf '\377\330\377\340\0\4ab\377' >x
	fails_with 1 "attnreport: x: no frame header in its 9 bytes, expected a JPEG picture" attnreport -p x.png --picture x
	echo "set terminal jpeg size 120,60; set output 'whole.jpg'; plot x" | gnuplot -d
	head -c 2000 whole.jpg >x
	fails_with 1 "attnreport: x: a JPEG picture that breaks off: no end in its 2000 bytes" attnreport -p x.png --picture x
	head -c -1 whole.jpg >x
	run -1 attnreport -p x.png --picture x
	truncate -s 70M x
	fails_with 1 "attnreport: x: over 67108864 bytes, expected a PNG or JPEG picture" attnreport -p x.png --picture x
	printf '\211PNG\r\n\032\n\0\0\0\015IHDR\0\0\0\0\0\0\0\1' >x
	fails_with 1 "attnreport: x: a picture of 0 x 1 pixels" attnreport -p x.png --picture x
	printf '\211PNG\r\n\032\n\0\0\0\015IHDR\0\1\0\0\0\1\0\0' >x
	fails_with 1 "attnreport: x: 65536 x 65536 pixels, expected at most 4194304 together" attnreport -p x.png --picture x
	# Only gnuplot finds out that there is nothing behind the head.
	printf '\211PNG\r\n\032\n\0\0\0\015IHDR\0\0\0\1\0\0\0\1' >x
	stream "put('self-vision.0', 1, 1, 4, [1, 0, 0, 0]); $quarters" >in
	run -1 attnreport -p x.png --picture x <in
	[[ $output == "attnreport: x.png: gnuplot drew nothing: "* ]]
	[ ! -e x.png ]
}
