#!/usr/bin/env bats
# Learned alphas: each of the checkpoint's, under its module's name.
load helper

@test "manners" {
	manners alphareport
}

# Names of modules to names of tensors, said once more.
@test "every alpha of the reference's, in the order of the log" {
	for case in sparse adaptive-sparse; do
		alphareport "$GOLDEN/$case/weights.safetensors" >got
		[ "$(head -1 got)" = $'name\tlayer\thead\talpha\tcheckpoint' ]
		python "
sizes = json.load(open('$GOLDEN/$case/case.json'))
numbers = numbers('$GOLDEN/$case/weights.safetensors')
where = [('Self Language', 'layer.%d.attention.self', 'lang'), ('Cross', 'x_layers.%d.visual_attention.att', 'cross'),
         ('Cross Self Language', 'x_layers.%d.lang_self_att.self', 'cross'), ('Cross Self Vision', 'x_layers.%d.visn_self_att.self', 'cross'),
         ('Self Vision', 'r_layers.%d.attention.self', 'vision')]
want = []
for name, stem, stack in where:
    for layer in range(sizes['layers'][stack]):
        alphas = numbers['lxrt_encoder.model.bert.encoder.' + stem % layer + '.entmax_alpha.alpha']
        want += [[name, str(layer), str(head), alpha] for head, alpha in enumerate(alphas)]
rows = [line.rstrip('\n').split('\t') for line in open('got')][1:]
assert len(rows) == len(want) > 0
for row, (name, layer, head, alpha) in zip(rows, want):
    assert row[:3] == [name, layer, head] and abs(float(row[3]) - alpha) <= 6e-8, (row, alpha)
    assert len(row[3].split('.')[1]) >= 6"
	done
}

@test "LayerDrop's wrapper and a torch file make no difference" {
	alphareport "$GOLDEN/sparse/weights.safetensors" | cut -f 1-4 >want
	python "
_, tensors = load('$GOLDEN/sparse/weights.safetensors')
wrap = lambda k: k.replace('encoder.layer.', 'encoder.layer.module_list.').replace('r_layers.', 'r_layers.module_list.').replace('x_layers.', 'x_layers.module_list.')
save('wrapped.safetensors', {'module.' + wrap(k): t for k, t in tensors.items()})"
	alphareport wrapped | cut -f 1-4 | diff want -
	alphareport "$GOLDEN/adaptive-sparse/weights.pth" | cut -f 1-4 >torch
	alphareport "$GOLDEN/adaptive-sparse/weights.safetensors" | cut -f 1-4 | diff torch -
}

@test "alphas that went wrong are shown" {
	prepare
	python "
meta, tensors = load('tiny.safetensors')
name = 'lxrt_encoder.model.bert.encoder.layer.0.attention.self.entmax_alpha.alpha'
tensors[name] = tensors[name][:2] + (struct.pack('<4f', -math.nan, 0.5, math.inf, 3),)
save('x.safetensors', tensors, meta)"
	[ "$(alphareport x | sed -n 2,5p | cut -f 4 | tr '\n' ' ')" = 'nan 0.5000000 inf 3.0000000 ' ]
	alphareport -p x.png x
	alphareport -p x.svg x tiny
}

@test "plots: one checkpoint by layer, several in their order" {
	prepare
	alphareport -p one.svg tiny >out
	[ ! -s out ]
	# The checkpoint's name, the kinds, and a dot for each of 20 heads.
	for text in tiny.safetensors layer alpha 'Self Language' 'Cross Self Vision'; do
		grep -qF ">$text<" <(tr -d '\n\t' <one.svg)
	done
	alphareport -p several.svg tiny tiny tiny
	grep -q 'layer 0' several.svg
	alphareport tiny tiny | wc -l | grep -qx 41
	fails_with 1 "alphareport: x.jpg: no name for a picture, expected one that ends with .png or .svg" alphareport -p x.jpg tiny
}

# A file's name is text from outside as well.
@test "a name cannot reach gnuplot or break a row" {
	prepare
	local name=$'a\'; system("touch ran"); \'`touch ran`\t\n@x'
	cp tiny.safetensors "$name"
	alphareport -p x.svg "$name"
	[ ! -e ran ]
	[ "$(alphareport "$name" | awk -F '\t' 'NF != 5' | wc -l)" = 0 ]
	[ "$(alphareport "$name" | wc -l)" = 21 ]
}

@test "softmax has none" {
	fails_with 1 "alphareport: $GOLDEN/softmax/weights.safetensors: its model has softmax attention, and no alphas" \
		alphareport "$GOLDEN/softmax/weights.safetensors"
	fails_with 2 "alphareport: too few operands: found 0, expected NAME...; see alphareport --help" alphareport
}
