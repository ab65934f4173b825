load helper

# image HEADER [BYTES]: a safetensors file on stdout, with that header and so many bytes of data
image() {
	/usr/bin/python3 -c '
import struct, sys
header = sys.argv[1].encode("utf-8", "surrogateescape")
sys.stdout.buffer.write(struct.pack("<Q", len(header)) + header + bytes(int(sys.argv[2])))
' "$1" "${2:-0}"
}

# bad MESSAGE HEADER [BYTES]: ckpt-info says this of such a file
bad() {
	image "$2" "${3:-0}" >x.safetensors
	fails_with 1 "ckpt-info: x.safetensors: $1" ckpt-info x
	[ ! -s fails_with.out ]
}

# tensor NAME DTYPE SHAPE BEGIN END
tensor() {
	printf '"%s": {"dtype": "%s", "shape": %s, "data_offsets": [%s, %s]}' "$@"
}

small() {
	ckpt-import -n 4 "$GOLDEN/sparse/weights.safetensors" sparse.safetensors
}

@test "manners" {
	manners ckpt-info
	small
	fails_with 1 "ckpt-info: stdout: cannot write: No space left on device" bash -c 'ckpt-info sparse >/dev/full'
	fails_with 1 "ckpt-info: stdout: cannot write: No space left on device" bash -c 'ckpt-info --json sparse >/dev/full'
}

@test "configuration, parameters, tensors" {
	small
	ckpt-info sparse >got
	head -3 got | diff - <(printf 'section\tname\tvalue\ncheckpoint\tfile\tsparse.safetensors\ncheckpoint\tparameters\t54947\n')
	[ "$(awk -F '\t' '$1 == "config" && $2 == "sparse" { print $3 }' got)" = true ]
	[ "$(awk -F '\t' '$2 == "logit_fc.3.weight" { print $3 }' got)" = "[11,64]" ]
	ckpt-info --json sparse.safetensors >got.json
	[ "$(jq -c '[.parameters, .config.hidden, .config.answers, .config.dropout, .answers]' got.json)" = '[54947,32,11,0.1,null]' ]
	# The parameters are those of the tensors.
	[ "$(jq '[.tensors[].shape | reduce .[] as $n (1; . * $n)] | add' got.json)" = 54947 ]
	[ "$(jq '.tensors | length' got.json)" = "$(grep -c '^tensor' got)" ]
}

@test "a NAME is a file, a file without .safetensors, a run's folder" {
	small
	mkdir run
	cp sparse.safetensors run/LAST.safetensors
	[ "$(ckpt-info --json sparse.safetensors | jq -r .file)" = sparse.safetensors ]
	[ "$(ckpt-info --json sparse | jq -r .file)" = sparse.safetensors ]
	[ "$(ckpt-info --json run | jq -r .file)" = run/LAST.safetensors ]
	[ "$(ckpt-info --json run/LAST | jq -r .file)" = run/LAST.safetensors ]
	mkdir empty
	fails_with 1 "ckpt-info: empty: a folder without LAST.safetensors: no snapshot was saved in it" ckpt-info empty
	fails_with 1 "ckpt-info: none: no such checkpoint: neither a file, nor with .safetensors or .pth added, nor a run's folder" ckpt-info none
	mkfifo pipe
	fails_with 1 "ckpt-info: pipe: no such checkpoint: neither a file, nor with .safetensors or .pth added, nor a run's folder" ckpt-info pipe
	fails_with 2 "ckpt-info: too few operands: found 0, expected NAME; see ckpt-info --help" ckpt-info
}

@test "strings cannot break a row" {
	small
	/usr/bin/python3 - <<-'END'
		import json, struct
		data = open("sparse.safetensors", "rb").read()
		n = struct.unpack("<Q", data[:8])[0]
		header = json.loads(data[8:8 + n])
		config = json.loads(header["__metadata__"]["vqa.config"])
		config["feature_source"] = "a\tb\n\"c\""
		config["d\te\nf"] = 7
		header["__metadata__"]["vqa.config"] = json.dumps(config)
		header = json.dumps(header).encode()
		header += b" " * (-len(header) % 8)
		open("tabs.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + data[8 + n:])
	END
	ckpt-info tabs >got
	[ "$(awk -F '\t' '$2 == "feature_source" { print NF ":" $3 }' got)" = '3:a\tb\n\"c\"' ]
	grep -Fqx "$(printf 'config\td\\te\\nf\t7')" got
	mv tabs.safetensors $'\xff\tg'
	ckpt-info $'\xff\tg' >got
	grep -Fqx "$(printf 'checkpoint\tfile\t??g')" got
}

@test "files that are no image" {
	: >x.safetensors
	fails_with 1 "ckpt-info: x.safetensors: 0 bytes, expected a safetensors header of at least 8" ckpt-info x
	printf 'short' >x.safetensors
	fails_with 1 "ckpt-info: x.safetensors: 5 bytes, expected a safetensors header of at least 8" ckpt-info x
	printf 'this is plain text, not a checkpoint' >x.safetensors
	fails_with 1 "ckpt-info: x.safetensors: its header would have 2338328219631577204 bytes, expected at most 100000000: not a safetensors file?" ckpt-info x
	printf '\377\377\377\377\377\377\377\377{}' >x.safetensors
	fails_with 1 "ckpt-info: x.safetensors: its header would have 18446744073709551615 bytes, expected at most 100000000: not a safetensors file?" ckpt-info x
	printf '\003\0\0\0\0\0\0\0{}' >x.safetensors
	fails_with 1 "ckpt-info: x.safetensors: its header of 3 bytes ends past the file of 10" ckpt-info x
	# Over the limit, though all of it is there.
	printf '\001\341\365\005\0\0\0\0{' >x.safetensors
	truncate -s 110M x.safetensors
	fails_with 1 "ckpt-info: x.safetensors: its header would have 100000001 bytes, expected at most 100000000: not a safetensors file?" ckpt-info x
}

@test "headers that are no JSON object" {
	bad "safetensors header, byte 0: '[' or '{' expected near end of file" ''
	bad "safetensors header, byte 5: string or '}' expected near end of file" '{    '
	bad "the header is no JSON object" '[]'
	bad "safetensors header, byte 1: '[' or '{' expected near '3'" '3'
	bad "safetensors header, byte 3: end of file expected near '{'" '{}{'
	bad "safetensors header, byte 14: unable to decode byte 0xff near '\"a'" $'{"abcdefg": "a\xff"}'
	image "$(printf '{"a": %05000d' 0 | tr 0 '[')" >x.safetensors
	fails_with 1 "ckpt-info: x.safetensors: safetensors header, byte 2054: maximum parsing depth reached near '['" ckpt-info x
	bad "safetensors header, byte 22: duplicate object key near '\"a\"'" '{"a": {}, "b": {}, "a": {}}'
	bad "__metadata__ is no JSON object" '{"__metadata__": []}'
	bad "__metadata__: 'a' is no string" '{"__metadata__": {"a": 1}}'
}

@test "tensors that are not as they should be" {
	bad "tensor 'a': 'dtype' is missing or no string" '{"a": 1}'
	bad "tensor 'a': 'dtype' is missing or no string" '{"a": {}}'
	bad "tensor 'a': dtype 'F33' is not known" "{$(tensor a F33 '[1]' 0 4)}" 4
	bad "tensor 'a': its shape is no array of at most 4 sizes" "{$(tensor a F32 1 0 4)}" 4
	bad "tensor 'a': its shape is no array of at most 4 sizes" "{$(tensor a F32 '[1, 1, 1, 1, 1]' 0 4)}" 4
	bad "tensor 'a': size 1 of its shape is negative or no integer" "{$(tensor a F32 '[1, -1]' 0 4)}" 4
	bad "tensor 'a': size 0 of its shape is negative or no integer" "{$(tensor a F32 '[1.0]' 0 4)}" 4
	bad "tensor 'a': its shape needs more than 4611686018427387904 bytes" "{$(tensor a F32 '[4611686018427387904, 4]' 0 0)}"
	bad "tensor 'a': its shape needs more than 4611686018427387904 bytes" "{$(tensor a F32 '[4294967296, 4294967296]' 0 0)}"
	bad "safetensors header, byte 53: too big integer near '99999999999999999999'" "{$(tensor a F32 '[99999999999999999999]' 0 4)}" 4
	bad "tensor 'a': data_offsets are no two integers" '{"a": {"dtype": "F32", "shape": [1]}}' 4
	bad "tensor 'a': data_offsets are no two integers" '{"a": {"dtype": "F32", "shape": [1], "data_offsets": [0, 4, 8]}}' 4
	bad "tensor 'a': data_offsets are no two integers" "{$(tensor a F32 '[1]' 0 '"4"')}" 4
	bad "tensor 'a': data_offsets are [-4, 0], expected 0 <= begin <= end" "{$(tensor a F32 '[1]' -4 0)}" 4
	bad "tensor 'a': data_offsets are [4, 0], expected 0 <= begin <= end" "{$(tensor a F32 '[1]' 4 0)}" 4
	bad "tensor 'a' ends past the file (at 8 of 4 bytes of data)" "{$(tensor a F32 '[2]' 0 8)}" 4
	bad "tensor 'a' ends past the file (at 9223372036854775807 of 4 bytes of data)" "{$(tensor a F32 '[1]' 9223372036854775803 9223372036854775807)}" 4
	bad "tensor 'a' has 4 bytes, but its shape needs 8" "{$(tensor a F32 '[2]' 0 4)}" 4
	bad "tensor 'a' has 4 bytes, but its shape needs 2" "{$(tensor a F16 '[1]' 0 4)}" 4
	bad "tensor 'b' overlaps the one before it, 'a'" "{$(tensor a F32 '[2]' 0 8), $(tensor b F32 '[2]' 4 12)}" 12
	bad "tensor 'b' overlaps the one before it, 'a'" "{$(tensor a F32 '[2]' 0 8), $(tensor b F32 '[2]' 0 8)}" 8
	bad "4 bytes before tensor 'b' belong to no tensor" "{$(tensor a F32 '[1]' 0 4), $(tensor b F32 '[1]' 8 12)}" 12
	bad "4 bytes at the end belong to no tensor" "{$(tensor a F32 '[1]' 0 4)}" 8
	bad "1 bytes at the end belong to no tensor" '{}' 1
	local name
	name=$(printf 'n%.0s' {1..192})
	bad "tensor '${name:0:40}…': its name has 192 bytes, expected fewer than 192" "{$(tensor "$name" F32 '[1]' 0 4)}" 4
	bad "tensor 'a?b': dtype 'X' is not known" '{"a\nb": {"dtype": "X"}}'
}

# edit FILTER: sparse.safetensors with its header changed by jq ($config: vqa.config, decoded) -> x.safetensors
edit() {
	/usr/bin/python3 - "$1" <<-'END'
		import json, struct, subprocess, sys
		data = open("sparse.safetensors", "rb").read()
		n = struct.unpack("<Q", data[:8])[0]
		header = subprocess.run(["jq", "-c", sys.argv[1]], input=data[8:8 + n], stdout=subprocess.PIPE, check=True).stdout.strip()
		header += b" " * (-len(header) % 8)
		open("x.safetensors", "wb").write(struct.pack("<Q", len(header)) + header + data[8 + n:])
	END
}

# wrong MESSAGE FILTER
wrong() {
	edit "$2"
	fails_with 1 "ckpt-info: x.safetensors: $1" ckpt-info x
}

config() {
	wrong "vqa.config: $1" ".__metadata__.\"vqa.config\" |= (fromjson | $2 | tojson)"
}

@test "images that are no checkpoint" {
	small
	edit .
	ckpt-info x >/dev/null
	wrong "no vqa.config in its metadata: a plain state dict, of which ckpt-import makes a checkpoint" 'del(.__metadata__)'
	wrong "what an optimizer remembers of a run, not a checkpoint: LAST.safetensors is beside it" '.__metadata__ = {"vqa.run": "{}"}'
	wrong "vqa.config: byte 2: '[' or '{' expected near 'no'" '.__metadata__."vqa.config" = "no"'
	wrong "vqa.config: no JSON object" '.__metadata__."vqa.config" = "[]"'
	config "'hidden' is missing or no integer from 1 to 16384" 'del(.hidden)'
	config "'hidden' is missing or no integer from 1 to 16384" '.hidden = "32"'
	config "'cross' is missing or no integer from 1 to 256" '.cross = 0'
	config "'language' is missing or no integer from 0 to 256" '.language = 1000000000'
	config "'sparse' is missing or neither true nor false" '.sparse = 1'
	config "'dropout' is missing or no number" '.dropout = null'
	config "'dropout' is 1, expected 0 to below 1" '.dropout = 1'
	config "'answers' is missing or no integer from 1 to 65536" '.answers = 0'
	config "'heads' is missing or no integer from 1 to 1024" '.heads = 0'
	config "'hidden' is 32, expected a multiple of 5 heads" '.heads = 5'
	config "'max_tokens' is 25, expected at most 24 positions" '.max_tokens = 25'
	config "'feature_source' is no string of fewer than 256 bytes" '.feature_source = 1'
	config "'vocab_hash' is no string of fewer than 32 bytes" '.vocab_hash = "0123456789012345678901234567890123456789"'
	wrong "vqa.answers: 1 answers, but vqa.config has 11" '.__metadata__."vqa.answers" = "[\"yes\"]"'
	wrong "vqa.answers: the answer list is no JSON array of 1 to 65536 strings" '.__metadata__."vqa.answers" = "{}"'
	wrong "vqa.answers: answer 1 is no string" '.__metadata__."vqa.answers" = "[\"yes\", 3]"'
	wrong "vqa.answers: answers 0 and 2 are both 'yes'" '.__metadata__."vqa.answers" = "[\"yes\", \"no\", \"yes\"]"'
}

@test "tensors that are not the configuration's" {
	small
	local bert=lxrt_encoder.model.bert
	wrong "tensor 'logit_fc.0.bias' is missing" '.other = ."logit_fc.0.bias" | del(."logit_fc.0.bias")'
	wrong "tensor '$bert.encoder.layer.2.attention.output.LayerNorm.bias' is missing" '.__metadata__."vqa.config" |= (fromjson | .language = 3 | tojson)'
	wrong "tensor '$bert.encoder.layer.1.attention.output.LayerNorm.bias' is no parameter of this configuration" '.__metadata__."vqa.config" |= (fromjson | .language = 1 | tojson)'
	wrong "tensor '$bert.encoder.layer.0.attention.self.entmax_alpha.alpha' is no parameter of this configuration" '.__metadata__."vqa.config" |= (fromjson | .sparse = false | tojson)'
	wrong "tensor '$bert.embeddings.word_embeddings.weight' has shape [60, 32], expected [61, 32]" '.__metadata__."vqa.config" |= (fromjson | .vocabulary = 61 | tojson)'
	wrong "tensor 'logit_fc.0.bias' is I32, expected F32" '."logit_fc.0.bias".dtype = "I32"'
	wrong "tensor 'logit_fc.0.bias' has shape [2, 32], expected [64]" '."logit_fc.0.bias".shape = [2, 32]'
}
