#!/usr/bin/env bats
# The completions of every option of every program, as a real bash and a real zsh complete a line that is typed.
load helper

# What there is to complete, in a folder of its own.
setup() {
	cd "$BATS_TEST_TMPDIR"
	mkdir bash zsh here here/folder
	touch here/file here/folder/inside "here/two words"
	for program in $(programs); do
		$program --completion bash >"bash/$program"
		$program --completion zsh >"zsh/_$program"
	done
}

# bash and zsh, each: types the lines of stdin, puts all that completes their last words in its place, and prints the lines.
# The keys are ^X for that and ^T to take the line.
complete_bash() {
	{
		printf '. %q\n' bash/*
		echo "cd here
			bind 'set bell-style none'
			bind '\"\\C-x\": insert-completions'
			bind -x '\"\\C-t\": echo \"\$READLINE_LINE\" >>../got.bash; READLINE_LINE='"
	} >rc
	sed $'s/$/\x18\x14/' | tr -d '\n' | HISTFILE= TERM=dumb timeout 120 bash --noprofile --rcfile rc -i >bash.said 2>&1
	cat got.bash
}

# zsh edits lines on a terminal only; its own zpty makes one.
complete_zsh() {
	cat >drive <<-'END'
		zmodload zsh/zpty
		zpty shell exec zsh -f -i
		zpty -w shell 'fpath=($PWD/zsh $fpath); cd here; autoload -U compinit; compinit -u -D; setopt no_beep
			zstyle ":completion:all::::" completer _all_matches _complete; zstyle ":completion:all:*" insert true
			zle -C all complete-word _generic; bindkey "^X" all
			take() { print -r -- "$BUFFER" >>../got.zsh; BUFFER= }; zle -N take; bindkey "^T" take'
		while IFS= read -r line; do zpty -w -n shell "$line"$'\x18\x14'; done
		zpty -w shell exit
		while zpty -r shell said; do print -n -r -- "$said"; done
	END
	timeout 120 zsh -f drive >zsh.said
	cat got.zsh
}

# sorted: the words of each line in order, without the slash behind a folder; words that a backslash joins are one.
sorted() {
	while IFS= read -r line; do
		sed -E 's/([^\\]) +/\1\n/g' <<<"$line" | sed 's:/$::; /^$/d' | sort | tr '\n' ' '
		echo
	done
}

# cases SHELL: what is typed and, behind a tab, the words that it becomes: for every program its options, each option's argument, and the
# operands; zsh offers options where there are none. Words that an option takes are those that the program names when it refuses another.
cases() {
	local program form arg files='folder file two\ words' words all
	for program in $(programs); do
		all=$(options $program | sed 's/,//; s/ [A-Z].*//' | tr '\n' ' ')
		printf '%s -\t%s %s\n' $program $program "$all"
		while read -r form arg; do
			words=$({ $program $form '' || true; } 2>&1 </dev/null | sed -n 's/.* is not one of //p' | tr '|' ' ' | sed 's/ [a-z]*:N//g')
			case $arg in
			FILE | NAME) words=${words:-$files} ;;
			DIR) words=folder ;;
			esac
			printf '%s %s \t%s %s %s\n' $program $form $program $form "$words"
		done < <(options $program | sed -nE 's/^((-.), )?(-[^ ]+) ([A-Z].*)/\3 \4\n\2 \4/p' | grep ^-)
		words=$($program -h | sed -nE '1s/^usage: [^ ]+( \[-[^]]*\])* *//p')
		if [ "$words" ]; then
			words=$files
		elif [ $1 = zsh ]; then
			words=$all
		fi
		printf '%s \t%s %s\n' $program $program "$words"
	done
}

# completes SHELL: what is typed becomes what the cases on stdin say.
completes() {
	cat >wanted
	cut -f 1 wanted | complete_$1 >got
	[ -s got ]
	diff <(cut -f 2 wanted | sorted) <(sorted <got)
}

@test "bash: every option, its argument, and operands" {
	cases bash | completes bash
	[ "$(grep -c . got)" -gt 60 ]
}

@test "zsh: every option, its argument, and operands" {
	cases zsh | completes zsh
	[ "$(grep -c . got)" -gt 60 ]
}

# Between words, and in their midst.
places() {
	cat <<-'END'
		vqa-forward --dev	vqa-forward --device
		vqa-forward -D cp	vqa-forward -D cpu
		vqa-forward --device=cp	vqa-forward --device=cpu
		vqa-forward -D x	vqa-forward -D x
		vqa-forward -b 2 -D cp	vqa-forward -b 2 -D cpu
		vqa-forward --batch=2 -D cp	vqa-forward --batch=2 -D cpu
		vqa-forward --batch=2 fi	vqa-forward --batch=2 file
		vqa-forward -b 2 fi	vqa-forward -b 2 file
		vqa-forward folder/	vqa-forward folder/inside
		vqa-forward file --dev	vqa-forward file --dev
		vqa-forward -- --dev	vqa-forward -- --dev
		vqa-forward -- fi	vqa-forward -- file
		vqa-forward file <t	vqa-forward file <two\ words
		vqa-dump -r <fi	vqa-dump -r <file
		vqa-dump fi	vqa-dump fi
		vqa-dump <file >two\ words --rev	vqa-dump <file >two\ words --reverse
		vqa-featpack file fi	vqa-featpack file file
	END
}

@test "bash: behind other options, behind operands, after =, redirections" {
	places | completes bash
}

@test "zsh: behind other options, behind operands, after =, redirections" {
	places | sed 's/vqa-forward --device$/vqa-forward --device=/' | completes zsh
}

@test "the scripts complain of nothing" {
	for program in $(programs); do
		bash -n bash/$program
		shellcheck -s bash bash/$program
		zsh -n zsh/_$program
		run -0 bash -c ". bash/$program && complete -p $program"
		[ "$output" = "complete -o bashdefault -o default -F _${program//-/_} $program" ]
		[ "$(sed -n 1p zsh/_$program)" = "#compdef $program" ]
	done
}

@test "--completion: its manners" {
	fails_with 2 "vqa-dump: option --completion: 'fish' is not one of bash|zsh" vqa-dump --completion fish
	fails_with 2 "vqa-dump: option --completion: its argument is missing" vqa-dump --completion
	run -0 vqa-forward --completion=zsh
	[ "${lines[0]}" = '#compdef vqa-forward' ]
	full() { "$@" >/dev/full; }
	fails_with 1 "vqa-dump: stdout: cannot write: No space left on device" full vqa-dump --completion bash
}
