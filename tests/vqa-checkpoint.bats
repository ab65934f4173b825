load helper

PAGE=$ROOT/man/vqa-checkpoint.5

# literal PATTERN: the page's literal block that has a line with PATTERN, as it is printed.
literal() {
	awk -v pattern="$1" '
		/^\.Bd -literal/ { inside = 1; text = ""; next }
		/^\.Ed/ { if (inside && text ~ pattern) printf "%s", text; inside = 0 }
		inside { text = text $0 "\n" }' "$PAGE"
}

small() {
	ckpt-import -n 4 "$GOLDEN/$1/weights.safetensors" "$1.safetensors"
}

@test "the page's Python reads what ckpt-init and ckpt-import write, and writes the same" {
	literal '^import json' >read.py
	small sparse
	/usr/bin/python3 read.py sparse.safetensors copy.safetensors >got
	head -3 got | diff - <(printf 'hidden 32\nanswers 11\nparameters 54947\n')
	[ "$(grep -c '\.entmax_alpha\.alpha [12]\.[0-9]*$' got)" = 6 ]
	ckpt-info copy | tail -n +3 | diff - <(ckpt-info sparse | tail -n +3)
	ckpt-import -n 4 copy.safetensors again.safetensors
	cmp again.safetensors sparse.safetensors
	cp "$GOLDEN/easy-vqa/answers.json" .
	ckpt-init -L 1,1,1 -H 8 -n 2 -F 12 -f 5 -A answers.json new.safetensors
	/usr/bin/python3 read.py new.safetensors >got
	[ "$(sed -n 2p got)" = "answers 13" ]
}

# The page's lists, spelt out for a model: name and shape, in the file's order.
spelt_out() {
	ckpt-info --json "$1" | jq .config >config.json
	literal '^logit_fc' >head
	literal '^attention.output' >layer
	literal 'visn_fc.box_fc' >regions
	literal '^lang_inter' >cross
	literal 'pooler.dense' >pooler
	/usr/bin/python3 - <<-'END'
		import json
		config = json.load(open("config.json"))
		letters = {"hidden": "D", "heads": "H", "ffn": "F", "features": "X", "vocabulary": "V", "positions": "P", "answers": "A",
		           "span_rows": "S"}
		sizes = {letter: config[key] for key, letter in letters.items()} | {"2D": 2 * config["hidden"], "1": 1, "2": 2, "4": 4}
		def show(block, prefix=""):
		    for line in open(block):
		        line, _, condition = line.partition("only if ")
		        name, *shape = line.split()
		        if not condition or config[condition.strip()]:
		            print(prefix + name, "[%s]" % ",".join(str(sizes[s]) for s in shape), sep="\t")
		stack = "lxrt_encoder.model.bert.encoder.%s.%d."
		show("head")
		for key, name in ("language", "layer"), ("vision", "r_layers"):
		    for n in range(config[key]):
		        show("layer", stack % (name, n))
		show("regions")
		for n in range(config["cross"]):
		    show("cross", stack % ("x_layers", n))
		show("pooler")
	END
}

@test "the page lists every parameter with its shape, in order" {
	local case
	cp "$GOLDEN/easy-vqa/answers.json" .
	ckpt-init -L 2,3,1 -H 8 -n 2 -F 12 -f 5 -s -A answers.json new.safetensors
	ckpt-init -L 1,2,1 -H 8 -n 2 -F 12 -f 5 -s -a --span-rows 3 -A answers.json adaptive.safetensors
	small softmax
	small sparse
	for case in softmax sparse new adaptive; do
		spelt_out $case >expected
		ckpt-info $case | awk -F '\t' -v OFS='\t' '$1 == "tensor" { print $2, $3 }' | diff expected -
	done
}

@test "the page names every key of the configuration" {
	local key
	small sparse
	for key in $(ckpt-info --json sparse | jq -r '.config | keys[]'); do
		grep -qx ".It Cm $key" "$PAGE"
	done
}
