#!/usr/bin/env bats
# The pages say of the programs what the programs say of themselves, and their examples do what they show.
load helper

# unroff: literal text as it is printed.
unroff() {
	sed 's/\\&//g; s/\\e/\\/g'
}

@test "every program has a page and tests; every page of section 1 has a program" {
	diff <(programs) <(basename -s .1 "$ROOT"/man/*.1)
	for program in $(programs); do
		[ -e "$ROOT/tests/$program.bats" ] || { echo "tests/$program.bats is missing"; return 1; }
	done
}

@test "every page is clean" {
	mandoc -T lint -W warning "$ROOT"/man/*.[157]
}

@test "every page that a page refers to is there" {
	sed -n 's/^\.Xr \(vqa[^ ]*\|ckpt[^ ]*\) \([0-9]\).*/\1.\2/p; s/.*[^.]Xr \(vqa[^ ]*\|ckpt[^ ]*\) \([0-9]\).*/\1.\2/p' "$ROOT"/man/*.[157] |
		sort -u >named
	[ "$(wc -l <named)" -gt 10 ]
	while read -r page; do
		[ -e "$ROOT/man/$page" ] || { echo "man/$page is missing"; return 1; }
	done <named
}

# The sections of a page as mandoc prints them, without the overstriking: section PAGE NAME
section() {
	mandoc -T utf8 -O width=1000 "$1" | sed 's/.\x08//g' | sed -n "/^$2\$/,/^[A-Z]/p" | sed '1d; $d'
}

@test "NAME and SYNOPSIS are what -h prints" {
	for program in $(programs); do
		$program -h >help
		diff <(sed -n 's/^usage: //p' help | tr -d ' ') <(section "$ROOT/man/$program.1" SYNOPSIS | tr -d ' \n' | sed '$a\')
		diff <(sed -n 2p help) <(sed -n 's/^\.Nd //p' "$ROOT/man/$program.1")
	done
}

@test "the options of each page are those that -h prints, short and long, in its order" {
	for program in $(programs); do
		page=$ROOT/man/$program.1
		options $program | head -n -3 >help
		sed -nE '/^\.It Fl/ { s/^\.It Fl (.) , -/-\1, --/; s/^\.It Fl /-/; s/ Ar / /; p }' "$page" | diff help -
	done
}

# item PAGE OPTION: what the page says of an option, in one line.
item() {
	awk -v option="$2" '
		/^\.(It|El)/ { here = 0 }
		/^\.It Fl/ {
			sub(/^\.It Fl /, "-"); sub(/ , -/, ", --"); sub(/ Ar /, " ")
			here = $0 == option
			next
		}
		here' "$1" | sed 's/^\.[A-Z][a-z] //' | tr '\n' ' ' | sed 's/ \([,.;]\)/\1/g'
}

# each_option TEST: of every program, with $program, $page, $option as in -h, its $help there and its $item in the page. All that
# fail are told.
each_option() {
	local failed=
	for program in $(programs); do
		page=$ROOT/man/$program.1
		options $program >options
		[ -s options ]
		while read -r option; do
			help=$($program -h | sed 's/^ *//' | awk -v option="$option" 'index($0, option) == 1 { print substr($0, length(option) + 1) }')
			item=$(item "$page" "$option")
			[ "$help" ] && [ "$item" ] && "$@" && continue
			printf '%s: %s\n-h: %s\npage: %s\n' $program "$option" "$help" "$item"
			failed=1
		done < <(head -n -3 options)
	done
	[ -z "$failed" ]
}

# "(128)" and "128 by default", "(required)" and "is required". A number is in the page; other defaults are the same where both state
# one, but what takes several words may be said in others.
same_default() {
	local default
	default=$(sed -nE 's/.* \((.*)\)$/\1/p' <<<"$help")
	case $default in
	'' | *' '*) ;;
	required) [[ $item == *' is required.'* ]] ;;
	*)
		[[ $default != [0-9]* && $item != *'y default'* ]] ||
			grep -qE "(^|[ ;])$default(, [^.;]*,)? by default[.,]|y default $default[.,]" <<<"$item"
		;;
	esac
}

@test "the defaults that -h tells are those of the page" {
	each_option same_default
}

# What a program says of an argument that it does not take: refusal FORM…
refusal() {
	{ $program "$@" || true; } 2>&1 >/dev/null </dev/null
}

# The words that an option takes are all in the page; the range of a number is the page's, where it has one.
same_values() {
	local form words range low high
	form=$(sed -E 's/^-., //; s/ .*//' <<<"$option")
	words=$(refusal $form 'no such word' | sed -n 's/.* is not one of //p')
	for word in ${words//|/ }; do
		grep -qE "(^| )$word([ ,.;]|\$)" <<<"$item" || return 1
	done
	range=$(refusal $form 'no number' | sed -nE 's/.* is not a (whole )?number from (.*) to (.*)/\2 \3/p')
	read -r low high < <(sed -nE 's/.*[^0-9.^-]([0-9][0-9.^]*) to ([0-9][0-9.^]*[0-9]).*/\1 \2/p' <<<" $item") || return 0
	[ -z "$range" ] || [ "$range" = "$low $high" ] || [ "$range" = "$low $((${high/^/**}))" ]
}

@test "the words that an option takes, and its bounds, are those of the page" {
	each_option same_values
}

@test "every program's page has its sections, and is named in vqa(7) and in the README" {
	for program in $(programs); do
		for name in NAME SYNOPSIS DESCRIPTION 'EXIT STATUS' EXAMPLES 'SEE ALSO'; do
			grep -qx "\.Sh $name" "$ROOT/man/$program.1" || { echo "$program.1: $name"; return 1; }
		done
		grep -qx "\.It Xr $program 1" "$ROOT/man/vqa.7" || { echo "vqa(7): $program"; return 1; }
		grep -q "(man/$program.1)" "$ROOT/README.md" || { echo "README: $program"; return 1; }
	done
	for page in "$ROOT"/man/*.[57]; do
		grep -q "(man/${page##*/})" "$ROOT/README.md" || { echo "README: $page"; return 1; }
	done
}

@test "vqa-pipelines(7) names every pipeline, and every setting with its default" {
	page=$ROOT/man/vqa-pipelines.7
	unset MAKEFLAGS MFLAGS MAKELEVEL
	for name in $(make -s -C "$ROOT" --eval 'names: ; @echo $(PIPELINES)' names) ask; do
		grep -q "$name" "$page" || { echo "$name"; return 1; }
		[ -x "$ROOT/pipelines/$name" ]
	done
	grep -ohE '\$\{[A-Z_]+:-[^}]*\}' "$ROOT"/pipelines/* | sed -E 's/^..([A-Z_]+):-(.*)\}$/\1 \2/' | sort -u >settings
	[ "$(wc -l <settings)" -gt 5 ]
	# Those of other data are told before the list.
	others=$(sed -n '/^\.Sh ENVIRONMENT/,/^\.Bl/p' "$page")
	while read -r name default; do
		item=$(awk -v name="$name" '
			/^\.(It|El)/ { here = 0 }
			/^\.It Ev/ { for (i = 3; i <= NF; i++) here = here || $i == name; next }
			here' "$page" | sed 's/^\.[A-Z][a-z] //; s/^Ql //' | tr '\n' ' ')
		[ "$item" ] || { echo "$name is not there"; return 1; }
		[[ $default == *'$'* || "$others $item" == *"$default"* ]] || { echo "$name: $default, but: $item"; return 1; }
	done <settings
}

# examples PAGE: the lines of its EXAMPLES and COOKBOOK, but for blocks that do not begin with a prompt.
examples() {
	awk '/^\.Sh / { inside = $2 == "EXAMPLES" || $2 == "COOKBOOK" }
		/^\.Ed/ { block = 0 }
		block == 1 { block = /^\$ / ? 2 : 0 }
		inside && block
		/^\.Bd -literal/ { block = 1 }' "$1" | unroff
}

# Run COMMAND, which is to print what is on stdin.
shows() {
	local status=0
	bash -o pipefail -c "$1" >../got 2>../said </dev/null || status=$?
	if [ "$status" != 0 ] || ! diff - ../got >../difference; then
		printf '%s\n$ %s\nstatus: %s\n' "$page" "$1" "$status"
		cat ../said ../difference
		return 1
	fi
}

# A page's examples belong together: each in the folder that the ones before it left.
run_examples() {
	local page=$1 line command='' want=''
	mkdir examples
	cd examples
	prepare
	while IFS= read -r line; do
		if [[ $line == '$ '* ]]; then
			[ -z "$command" ] || printf '%s' "$want" | shows "$command" || return 1
			command=${line#'$ '}
			want=
		else
			want+=$line$'\n'
		fi
	done
	[ -z "$command" ] || printf '%s' "$want" | shows "$command"
}

@test "the examples of every page" {
	[ -z "${VQA_SANITIZED:-}" ] || skip "trainings run in the release build"
	for page in "$ROOT"/man/*.[157]; do
		(run_examples "$page" < <(examples "$page"))
		rm -r examples
	done
}

@test "every program's page has examples" {
	for program in $(programs); do
		examples "$ROOT/man/$program.1" | grep -q "$program" || { echo "$program.1"; return 1; }
	done
}

# literal PATTERN: the block of vqa-stream(5) that has a line with PATTERN.
literal() {
	awk -v pattern="$1" '
		/^\.Bd -literal/ { inside = 1; text = ""; next }
		/^\.Ed/ { if (inside && text ~ pattern) printf "%s", text; inside = 0 }
		inside { text = text $0 "\n" }' "$ROOT/man/vqa-stream.5" | unroff
}

@test "vqa-stream(5): its Python makes a stream and reads answers" {
	prepare
	literal '^import msgpack' >make.py
	literal '^import math' >read.py
	/usr/bin/python3 make.py 360 >stream
	vqa-forward -l -a cross-language tiny <stream >answers
	/usr/bin/python3 read.py <answers >got
	vqa-dump <answers | jq -r 'select(.type == "answer") | "\(.id) \(.answer)"' | diff - <(grep '^[0-9]' got | cut -d ' ' -f 1,2)
	[ "$(grep -c '^[0-9]' got)" = 2 ]
	[ "$(grep -c 'cross-language.0, head [0-3]: \[CLS\] looks most at [0-9]*$' got)" = 8 ]
	diff <(grep '^[0-9]' got | cut -d ' ' -f 3) <(sed -n 's/^  sigmoid //p' got)
	head -c -20 answers >cut
	run -1 /usr/bin/python3 read.py <cut
	[[ $output == *'stream truncated' ]]
}

@test "vqa-stream(5): its Python stands in vqa-step's place" {
	[ -z "${VQA_SANITIZED:-}" ] || skip "trainings run in the release build"
	prepare
	literal '^import array' >descent.py
	vqa-tokenize questions.json | vqa-featload features.lmdb >stream
	vqa-forward -t -b 2 --dropout 0 tiny <stream | vqa-loss | vqa-backward | /usr/bin/python3 descent.py 0.01 >losses
	[ "$(cut -d ' ' -f 1 losses | tr '\n' ' ')" = '1 2 3 4 ' ]
	awk 'NR > 1 && $2 >= before { exit 1 } { before = $2 }' losses
}

@test "vqa-stream(5) names every field of every record" {
	prepare
	vqa-tokenize --shard 0/1 questions.json >questions
	vqa-featload features.lmdb <questions >shown
	vqa-featpack --f16 features.tsv half.lmdb
	vqa-featload half.lmdb <questions >half
	vqa-forward -k 1 -l -a all tiny <shown >answers
	if [ -z "${VQA_SANITIZED:-}" ]; then
		vqa-forward -t -b 4 tiny <shown | vqa-loss | vqa-backward -g gradients >batches
	fi
	for stream in questions shown half answers batches; do
		[ ! -e $stream ] || vqa-dump <$stream | jq -r '.type as $type | keys[] | "\($type) \(.)"'
	done | sort -u >fields
	[ "$(wc -l <fields)" -gt 30 ]
	while read -r type field; do
		# A header's are also under TRAINING.
		awk -v type="$type" '/^\.S[sh] / { here = $2 == type || (type == "header" && $2 == "TRAINING") } here && /^\.It Cm/' \
			"$ROOT/man/vqa-stream.5" | tr ' ' '\n' | grep -qx "$field" || { echo "$type: $field"; return 1; }
	done <fields
}
