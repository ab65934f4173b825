load helper

# The golden $1 as model.safetensors
model() {
	ckpt-import -n "$(jq .heads "$GOLDEN/$1/case.json")" "$GOLDEN/$1/weights.safetensors" model.safetensors
}

@test "manners" {
	manners ckpt-prune
}

@test "a LayerDrop model answers as the reference does with these layers dropped" {
	model layerdrop
	# The reference's draws of the first step: language, vision, cross.
	[ "$(jq -c '.layerdrop_draws_in_call_order[:3]' "$GOLDEN/layerdrop/case.json")" = '[[0],[0],[1]]' ]
	ckpt-prune -l 1,2 -r 1 -x 0 model pruned.safetensors
	/usr/bin/python3 "$ROOT/tests/golden.py" stream "$GOLDEN/layerdrop" 1 >stream
	vqa-forward -l pruned <stream >answers
	/usr/bin/python3 "$ROOT/tests/golden.py" logits "$GOLDEN/layerdrop" 1 answers
	# Others give other answers.
	ckpt-prune -l 1,2 -r 0 -x 0 model other.safetensors
	vqa-forward -l other <stream >answers
	run -1 /usr/bin/python3 "$ROOT/tests/golden.py" logits "$GOLDEN/layerdrop" 1 answers
}

@test "layers are renumbered, all else is kept" {
	model layerdrop
	jq -nc '[range(11) | "a\(.)"]' >answers.json
	ckpt-import -n 4 -A answers.json model.safetensors model.safetensors
	[ "$(ckpt-info --json model | jq .config.layerdrop)" = 0 ]
	# In whatever order they are named, they keep theirs.
	ckpt-prune -l 2,0 -x 1 model pruned.safetensors >table
	printf '%s\t%s\t%s\n' part before after language 3 2 cross 2 1 vision 2 2 | diff - <(head -n 4 table)
	[ "$(tail -n 1 table)" = "$(printf 'parameters\t%s\t%s' "$(ckpt-info --json model | jq .parameters)" "$(ckpt-info --json pruned | jq .parameters)")" ]
	[ "$(ckpt-info --json pruned | jq -cS '[.config, .answers]')" = \
		"$(ckpt-info --json model | jq -cS '[(.config | .language = 2 | .cross = 1), .answers]')" ]
	python "
before, after = load('model.safetensors')[1], load('pruned.safetensors')[1]
want = {}
for k, v in before.items():
    for stack, kept in ('.encoder.layer.', [0, 2]), ('.encoder.x_layers.', [1]), ('.encoder.r_layers.', [0, 1]):
        if stack in k:
            head, tail = k.split(stack)
            number, tail = tail.split('.', 1)
            k = head + stack + str(kept.index(int(number))) + '.' + tail if int(number) in kept else None
            break
    if k:
        want[k] = v
assert want == after and len(after) < len(before)"
	# Nothing asked for, nothing changed.
	ckpt-prune model same.safetensors >table
	cmp model.safetensors same.safetensors
	# OUT may be SRC.
	ckpt-prune -l 0 same same.safetensors >table
	[ "$(ckpt-info --json same | jq .config.language)" = 1 ]
}

@test "LayerDrop is off, and a run's place is gone" {
	model layerdrop
	python "
meta, t = load('model.safetensors')
config = json.loads(meta['vqa.config'])
config['layerdrop'] = 2
meta['vqa.config'] = json.dumps(config)
meta['vqa.run'] = json.dumps({'id': 'ab', 'step': 3})
for pad in range(4): # a checkpoint's data begin at a multiple of 4
    save('model.safetensors', t, {**meta, 'pad': pad * ' '})
    if struct.unpack('<Q', open('model.safetensors', 'rb').read(8))[0] % 4 == 0:
        break"
	[ "$(ckpt-info --json model | jq -c '[.config.layerdrop, .run.step]')" = '[2,3]' ]
	ckpt-prune -l '' -r '' model.safetensors pruned.safetensors
	[ "$(ckpt-info --json pruned | jq -c '[.config.layerdrop, .config.language, .config.cross, .config.vision, .run]')" = '[0,0,2,0,null]' ]
	/usr/bin/python3 "$ROOT/tests/golden.py" stream "$GOLDEN/layerdrop" 1 | vqa-forward pruned | vqa-submit | jq -e 'length == 3'
}

@test "spans and alphas go with their layers" {
	model adaptive-sparse
	ckpt-prune -x 1 model pruned.safetensors
	python "
before, after = load('model.safetensors')[1], load('pruned.safetensors')[1]
name = 'lxrt_encoder.model.bert.encoder.x_layers.%d.visual_attention.att.'
for part in 'adaptive_span.current_val', 'entmax_alpha.alpha':
    assert after[name % 0 + part] == before[name % 1 + part] != before[name % 0 + part]
    assert name % 1 + part not in after"
}

@test "lists that are none" {
	model layerdrop
	local list
	for list in 3 -1 a , 0, ,0 0,,1 ' 1' 0,1,2,3 0000000001 99999999999999999999; do
		fails_with 2 "ckpt-prune: option -l: '$list' is no list of layers from 0 to 2: the stack has 3" ckpt-prune -l "$list" model out
	done
	fails_with 2 "ckpt-prune: option -r: '1,0,1' has layer 1 twice" ckpt-prune -r 1,0,1 model out
	fails_with 2 "ckpt-prune: option -x: no layer is left, expected one at least" ckpt-prune -x '' model out
	ckpt-prune -l '' model none.safetensors
	fails_with 2 "ckpt-prune: option -l: '0', but that stack has no layers" ckpt-prune -l 0 none out
	ckpt-prune -l '' none again.safetensors
	cmp none.safetensors again.safetensors
	fails_with 1 "ckpt-prune: out: no such checkpoint: neither a file, nor with .safetensors or .pth added, nor a run's folder" ckpt-prune out out
	[ ! -e out ]
}

@test "what was there stays until the new one is whole" {
	model layerdrop
	echo before >out
	fails_with 1 "ckpt-prune: out: cannot write: File too large" bash -c "trap '' XFSZ; ulimit -f 8; exec ckpt-prune model out"
	[ "$(cat out)" = before ]
	[ -z "$(find . -name '*.new.*')" ]
	local status=0
	ckpt-prune model out >/dev/full 2>said || status=$?
	[ "$status" = 1 ]
	grep -q '^ckpt-prune: stdout: .*No space left' said
}

@test "rank: which layer costs least" {
	prepare
	# Large random weights, so that each layer matters.
	ckpt-init -L 2,2,0 -H 32 -n 4 -F 64 -f 360 --init-range 0.5 -r 3 -A answers.json model.safetensors
	rank model labels.json features.lmdb >table
	[ "$(head -n 1 table)" = "$(printf 'stack\tlayer\taccuracy\tdifference')" ]
	tail -n +2 table | cut -f 1,2 | sort | diff - <(printf '%s\t%s\n' cross 0 cross 1 language 0 language 1)
	tail -n +2 table | cut -f 4 | sort -c -g -r
	right() {
		vqa-tokenize labels.json | vqa-featload features.lmdb | vqa-forward "$1" | vqa-submit >"$1.json"
		vqa-score --json -l labels.json "$1.json" | jq .accuracy
	}
	local whole stack layer accuracy difference
	whole=$(right model)
	while read -r stack layer accuracy difference; do
		ckpt-prune "-$([ "$stack" = cross ] && echo x || echo l)" $((1 - layer)) model pruned.safetensors
		[ "$(right pruned)" = "$accuracy" ]
		jq -en "$accuracy - $whole - $difference | fabs < 1e-6"
	done < <(tail -n +2 table)
	[ "$(tail -n +2 table | cut -f 4 | sort -u | wc -l)" -gt 1 ]
	# The only layer of the cross-modality stack stays.
	rank tiny labels.json features.lmdb | cut -f 1 | sort | diff - <(printf '%s\n' language stack vision)
	fails_with 2 'usage: pipelines/rank CHECKPOINT QUESTIONS FEATURES...' rank model labels.json
	run -1 --separate-stderr rank none labels.json features.lmdb
	[ -z "$output" ]
}
