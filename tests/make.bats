#!/usr/bin/env bats
# What the Makefile does beside building: the packages, the installation.
load helper

# A make of its own, though another one runs the tests.
setup() {
	cd "$BATS_TEST_TMPDIR"
	unset MAKEFLAGS MFLAGS MAKELEVEL
}

# In front of the real ones: nothing is installed, and apt-get only says what it was asked for.
fake_system() {
	mkdir fake
	printf '#!/bin/sh\nexit 1\n' >fake/dpkg-query
	printf '#!/bin/sh\necho %s\n' "$1" >fake/id
	printf '#!/bin/sh\necho "apt-get $*"\n' >fake/apt-get
	chmod +x fake/*
}

@test "without root, missing packages are named and nothing is done" {
	fake_system 1000
	PATH=$PWD/fake:$PATH run -2 make -s -C "$ROOT" deps
	[[ ${lines[0]} == 'missing packages; as root: apt-get install --no-install-recommends gcc g++ make '*' libdnnl-dev '* ]]
	[[ ${lines[1]} == *'deps'*'Error 1' ]]
	[ "${#lines[@]}" = 2 ]
}

@test "as root, they are installed" {
	fake_system 0
	PATH=$PWD/fake:$PATH make -s -C "$ROOT" deps-run >said
	[ "$(sed -n 1p said)" = 'apt-get update' ]
	sed -n 2p said | grep -q '^apt-get install -y --no-install-recommends .*liblmdb-dev'
	sed -n 2p said | grep -q bats && return 1
	[ "$(wc -l <said)" = 2 ]
}

@test "what is installed works without the source" {
	[ -z "${VQA_SANITIZED:-}" ] || skip "the release build is installed"
	make -s -C "$ROOT" install DESTDIR="$PWD/there" PREFIX=/usr
	there/usr/bin/vqa-tokenize -q 'what color is the shape?' -i 1 | there/usr/bin/vqa-dump | grep -q '"tokens":{"i32":\[101,2054,3609,'
	cp "$GOLDEN/easy-vqa/answers.json" .
	there/usr/bin/ckpt-init -L 1,1,1 -H 8 -n 2 -F 8 -f 360 -A answers.json tiny
	there/usr/bin/vqa-gridfeat "$GOLDEN/easy-vqa/images/0.png" >features.tsv
	there/usr/bin/vqa-tokenize -q 'what?' -i 0 | there/usr/bin/vqa-featload features.tsv | there/usr/bin/vqa-forward tiny |
		there/usr/bin/vqa-submit | jq -e 'length == 1'
	diff <(cd "$ROOT/man" && ls ./*.[157] | sed 's:^\./::') <(cd there/usr/share/man && find . -type f | sed 's:.*/::' | sort)
	for program in $(programs); do
		there/usr/bin/$program --completion bash | diff - there/usr/share/bash-completion/completions/$program
		there/usr/bin/$program --completion zsh | diff - there/usr/share/zsh/site-functions/_$program
	done
	grep -qx 'Name: vqa' there/usr/lib/pkgconfig/vqa.pc
	ldd there/usr/bin/vqa-forward | grep -q "$PWD/there/usr/bin/../lib/libvqa.so"
}

@test "make data/vqa2 is the pipeline of that name" {
	make -s -n -C "$ROOT" data/vqa2/whole | grep -qx pipelines/vqa2
	make -n -C "$ROOT" data DATA=vqa2 | grep -qx pipelines/vqa2
}

@test "the data set is told in front of make or behind it" {
	unset DATA
	DATA=vqa2 make -n -C "$ROOT" pipelines/train-sparse | grep -qx 'DATA=vqa2 pipelines/train-sparse'
	make -n -C "$ROOT" pipelines/train-sparse DATA=vqa2 | grep -qx 'DATA=vqa2 pipelines/train-sparse'
	make -n -C "$ROOT" pipelines/train-sparse | grep -qx 'DATA=easy-vqa pipelines/train-sparse'
}
