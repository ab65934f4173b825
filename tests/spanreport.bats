#!/usr/bin/env bats
# Adaptive spans against the reference's figures, and against the mask's definition.
load helper

# state CASE STEP: the reference's parameters after so many steps as a plain state dict, state.safetensors.
state() {
	python "
_, tensors = load('$GOLDEN/$1/out.safetensors')
save('state.safetensors', {k[len('$2.param.'):]: t for k, t in tensors.items() if k.startswith('$2.param.')})"
}

@test "manners" {
	manners spanreport
	state adaptive 11
	fails_with 1 "spanreport: stdout: cannot write: No space left on device" bash -c 'spanreport state >/dev/full'
}

# case.json's span_lengths are in the order of the modules in the model: language, vision, then cross, its language's and its vision's
# self attention, layer by layer. Ours is that of the log.
@test "the reference's own figures after 11 steps" {
	for case in adaptive adaptive-sparse schedule; do
		state $case 11
		spanreport state | cut -f 1-3 >got
		jq -r '.layers as $n | .span_lengths as $s | ($n.lang + $n.vision) as $x |
			(range($n.lang) | ["Self Language", ., $s[.]]), (range($n.cross) | ["Cross", ., $s[$x + 3 * .]]),
			(range($n.cross) | ["Cross Self Language", ., $s[$x + 3 * . + 1]]),
			(range($n.cross) | ["Cross Self Vision", ., $s[$x + 3 * . + 2]]),
			(range($n.vision) | ["Self Vision", ., $s[$n.lang + .]]) | @tsv' \
			"$GOLDEN/$case/case.json" | sed '1i name\tlayer\tspan' | diff - got
	done
}

@test "a checkpoint, a torch file and a file of ours say the same" {
	ckpt-import -n 4 "$GOLDEN/adaptive/weights.safetensors" ours.safetensors
	cp "$GOLDEN/adaptive/weights.pth" adaptive_6910.pth
	spanreport ours | rev | cut -f 2- | rev >want
	spanreport adaptive_6910 | rev | cut -f 2- | rev | diff want -
	spanreport "$GOLDEN/adaptive/weights-legacy.pth" | rev | cut -f 2- | rev | diff want -
	[ "$(spanreport adaptive_6910 | cut -f 13 | sort -u | head -1)" = adaptive_6910.pth ]
	# Several are one table.
	spanreport ours adaptive_6910 | wc -l | grep -qx "$((2 * $(wc -l <want) - 1))"
}

# spans VALUES: x.safetensors, one layer each, 4 heads, 3 rows, all spans with these twelve values
spans() {
	jq -n '["yes", "no"]' >two.json
	ckpt-init -L 1,1,1 -H 8 -n 4 -F 8 -f 4 -a --span-rows 3 "${@:2}" -A two.json x.safetensors
	python "
meta, tensors = load('x.safetensors')
v = struct.pack('<12f', $1)
save('x.safetensors', {k: (t[0], t[1], v if 'adaptive_span' in k else t[2]) for k, t in tensors.items()}, meta)"
}

@test "what is really masked, by the definition" {
	spans '-0.5, 0, 0.02, 0.03, 0.06, 0.1, 0.3, 0.5, 0.9, 0.97, 1, 1.5'
	spanreport x >modules
	spanreport --heads x >heads
	python "
unit, ramp = 1024, 32
values = struct.unpack('<12f', struct.pack('<12f', -0.5, 0, 0.02, 0.03, 0.06, 0.1, 0.3, 0.5, 0.9, 0.97, 1, 1.5))
mask = lambda v, S: [min(max(((k - (S - 1)) + v * S) / ramp + 1, 0), 1) for k in range(S)]
figure = lambda v: min(max(math.ceil(unit * v) + ramp, 0), unit)
near = lambda a, b: a == b == 'nan' or abs(float(a) - b) <= 6e-5
zero = lambda vs, S, over: sum(mask(v, S).count(0) for v in vs) / len(vs) if over else 'nan'
weight = lambda vs, S, over: sum(sum(mask(v, S)) / S for v in vs) / len(vs) if over else 'nan'
def check(vs, row, words, regions):
    want = zero(vs, 20, words), zero(vs, 36, regions), weight(vs, 20, words), weight(vs, 36, regions)
    assert all(near(a, b) for a, b in zip(row[8:12], want)), (row, want)
rows = [line.rstrip('\n').split('\t') for line in open('modules')][1:]
assert [r[0] for r in rows] == ['Self Language', 'Cross', 'Cross Self Language', 'Cross Self Vision', 'Self Vision']
for r in rows:
    mean = sum(values) / 12
    assert [int(x) for x in r[1:5]] == [0, figure(mean), 1024, 12] and near(r[5], mean), r
    assert r[6:8] == ['%.4f' % (2 / 12), '%.4f' % (2 / 12)], r
    check(values, r, 'Vision' not in r[0], 'Language' not in r[0])
rows = [line.rstrip('\n').split('\t') for line in open('heads')][1:]
assert len(rows) == 60
for i, r in enumerate(rows):
    v = values[i % 12]
    assert [int(x) for x in r[1:5]] == [0, figure(v), i % 4, i % 12 // 4] and near(r[5], v), r
    check([v], r[:6] + ['', ''] + r[6:], 'Vision' not in r[0], 'Language' not in r[0])"
	# A value of 0 leaves out 4 of 36 regions and no word: all that a span saves.
	awk -F '\t' '$1 == "Cross" && $4 == 1 && $5 == 0 { print $7, $8 }' heads | grep -qx '0.0000 4.0000'
}

@test "other units and ramps" {
	spans '0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0.12' --span-unit 100 --span-ramp 4
	[ "$(spanreport x | cut -f 3,4,10 | sed -n '$p')" = $'5\t16\t31.5833' ]
}

@test "values that are not numbers are shown as such" {
	spans 'math.nan, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0'
	[ "$(spanreport x | cut -f 3,4,6 | sed -n 2p)" = $'nan\tnan\tnan' ]
	spanreport -p x.svg x
}

# The reference's text, of two epochs; the last row of spans goes on.
log() {
	printf '%s\n' '######' 'Time: 10:00:00' ''
	for epoch in 0 1; do
		printf '\nEpoch %d: Train 60.00\nLoss: 1.5\tAdapt Span Loss: 0.01\n' $epoch
		printf 'Self Language 0 %d\tSelf Language 1 158\t\nCross 0 216\t\nCross Self Language 0 167\t\nCross Self Vision 0 138\t\nSelf Vision 0 101\t' \
			$((181 - 23 * epoch))
		printf 'Epoch %d: Valid 68.88\nEpoch %d: Best 68.88\nTime elpased for epoch 1.0\n' $epoch $epoch
	done
}

@test "a log's spans" {
	log >log.log
	spanreport -l log.log >got
	[ "$(wc -l <got)" = 13 ]
	[ "$(awk -F '\t' '$1 == "Self Language" && $2 == 0 { print $3, $4 }' got | tr '\n' ' ')" = '181 0 158 1 ' ]
	[ "$(sed -n 4p got)" = $'Cross\t0\t216\t0' ]
	[ "$(sed -n '$p' got)" = $'Self Vision\t0\t101\t1' ]
	spanreport -l log.log -p log.svg
	grep -q 'Cross Self Vision' log.svg
	grep -q 'layer 1' log.svg
	fails_with 1 "spanreport: none: cannot open: No such file or directory" spanreport -l none
	echo text >x
	fails_with 1 "spanreport: x: no spans in it, expected rows as 'Self Language 0 181'" spanreport -l x
	echo 'Cross 0 1' >x
	fails_with 1 "spanreport: x:1: 'Cross 0 1', expected an 'Epoch' before it" spanreport -l x
	printf 'Epoch 0: Train 1\nCross 0 1x\n' >x
	fails_with 1 "spanreport: x:2: 'Cross 0 1x', expected a name, a layer and a span" spanreport -l x
	printf 'Epoch 0: Train 1\nCross 256 1\n' >x
	fails_with 1 "spanreport: x:2: 'Cross 256 1', expected a name, a layer and a span" spanreport -l x
	printf 'Epoch x: Train 1\n' >x
	fails_with 1 "spanreport: x:1: 'Epoch x: Train 1', expected an epoch's number" spanreport -l x
	printf 'Epoch 0: Train 1\n%70000d\n' 1 >x
	fails_with 1 "spanreport: x:2: a line of over 65536 bytes" spanreport -l x
	printf 'Epoch 0: Train 1\nCross 0 \0001\n' >x
	fails_with 1 "spanreport: x:2: a NUL in the line, expected text" spanreport -l x
}

@test "plots" {
	ckpt-import -n 4 "$GOLDEN/adaptive/weights.safetensors" a.safetensors
	spanreport -p a.png a >out
	[ ! -s out ]
	[ "$(head -c 8 a.png | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ]
	spanreport --plot=a.svg a a a
	grep -q 'Self Language' a.svg
	ls | diff - <(printf '%s\n' a.png a.safetensors a.svg out)
	# The file is replaced whole, or stays.
	fails_with 1 "spanreport: a.gif: no name for a picture, expected one that ends with .png or .svg" spanreport -p a.gif a
	fails_with 1 "spanreport: .png: no name for a picture, expected one that ends with .png or .svg" spanreport -p .png a
	fails_with 1 "spanreport: no/a.png: cannot create: No such file or directory" spanreport -p no/a.png a
	mkdir d.png
	fails_with 1 "spanreport: d.png: is there and no regular file" spanreport -p d.png a
	cp a.png before.png
	mkdir path
	for program in spanreport; do ln -s "$BIN/$program" path/; done
	fails_with 1 "spanreport: gnuplot was not found, and draws the pictures (Debian's package gnuplot-nox)" env PATH="$PWD/path" spanreport -p a.png a
	printf '#!/bin/sh\necho half\nexit 3\n' >path/gnuplot
	chmod +x path/gnuplot
	fails_with 1 "spanreport: a.png: gnuplot drew nothing: it said nothing" env PATH="$PWD/path" spanreport -p a.png a
	printf '#!/bin/sh\nkill -9 $$\n' >path/gnuplot
	fails_with 1 "spanreport: a.png: gnuplot was ended by signal 9 (it has 60 seconds and 2048 MiB)" env PATH="$PWD/path" spanreport -p a.png a
	printf '#!/bin/sh\necho half\n: >begun\nexec sleep 5\n' >path/gnuplot
	PATH=$PWD/path:$PATH spanreport -p a.png a 3>&- &
	wait_for '[ -e begun ]'
	kill -9 $!
	wait $! || [ $? = 137 ]
	cmp a.png before.png
	[ -z "$(find . -name '*.new.*')" ]
}

@test "what has no spans, and wrong usage" {
	ckpt-import -n 4 "$GOLDEN/softmax/weights.safetensors" soft.safetensors
	fails_with 1 "spanreport: soft.safetensors: its model has no adaptive spans" spanreport soft
	fails_with 1 "spanreport: none: no such checkpoint: neither a file, nor with .safetensors or .pth added, nor a run's folder" spanreport none
	fails_with 2 "spanreport: expected either a checkpoint's NAME or -l FILE; see spanreport --help" spanreport
	fails_with 2 "spanreport: expected either a checkpoint's NAME or -l FILE; see spanreport --help" spanreport -l log.log soft
	fails_with 2 "spanreport: option --heads is for a table of checkpoints, not with -l or -p" spanreport --heads -p x.png soft
	python "
_, tensors = load('$GOLDEN/adaptive/weights.safetensors')
drop = [k for k in tensors if 'x_layers.0.lang_self_att.self.adaptive_span.current_val' in k][0]
save('cut.safetensors', {k: t for k, t in tensors.items() if k != drop})
tensors[drop] = ('I32',) + tensors[drop][1:]
save('ints.safetensors', tensors)"
	local name=lxrt_encoder.model.bert.encoder.x_layers.0.lang_self_att.self.adaptive_span.current_val
	fails_with 1 "spanreport: cut.safetensors: tensor '$name' is missing" spanreport cut
	fails_with 1 "spanreport: ints.safetensors: tensor '$name': its type is I32, expected F32, F16, BF16 or F64" spanreport ints
}
