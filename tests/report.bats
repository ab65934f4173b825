#!/usr/bin/env bats
# pipelines/report: a run as one page that stands alone, looked at in a browser where there is one.
load helper

# A data set of four pictures and a run on it by the real pipeline; a question and an answer that would be more than text on a page.
setup_file() {
	[ -z "${VQA_SANITIZED:-}" ] || return 0
	cd "$BATS_FILE_TMPDIR"
	prepare
	mkdir -p data/images snap
	jq '.[0].sent = "is <script>alert(1)</script> \"& <img src=http://a.b/c>\u0027 red?"' questions.json >data/train.json
	cp data/train.json data/valid.json
	cp data/train.json data/test-labels.json
	jq 'map(del(.label))' data/train.json >data/test.json
	cp answers.json data/answers.json
	cp -r features.lmdb data/train.lmdb
	cp -r features.lmdb data/test.lmdb
	cp -r images data/images/test
	mkdir -p "$ROOT/data"
	run_pipeline train adaptive-sparse >said 2>errors || {
		cat errors
		return 1
	}
	run_pipeline report adaptive-sparse >>said 2>>errors || {
		cat errors
		return 1
	}
}

run_pipeline() {
	DATA=$(realpath --relative-to="$ROOT/data" "$BATS_FILE_TMPDIR/data") SNAP=$BATS_FILE_TMPDIR/snap EPOCHS=3 BATCH=2 WARMUP=1 MAX_LR=1e-2 \
		MODEL='-L 1,2,1 -H 16 -n 4 -F 16' "$ROOT/pipelines/$1" "${@:2}"
}

setup() {
	[ -z "${VQA_SANITIZED:-}" ] || skip "trainings run in the release build"
	cd "$BATS_TEST_TMPDIR"
	page=$BATS_FILE_TMPDIR/snap/adaptive-sparse/report.html
}

# The page without the images that it carries.
words() {
	sed 's/base64,[A-Za-z0-9+/=]*/base64,…/g' "$page"
}

@test "everything that a run has is on the page" {
	for title in 'Score on the test split' Training 'What was asked, answered and looked at' 'Adaptive spans' Alphas Attention \
		'Multiplications a question' Configuration; do
		[ "$(words | grep -c "<h2>$title</h2>")" = 1 ]
	done
	# Curve; 8 pictures; spans and alphas by layer and by epoch; entropies; multiplications.
	[ "$(words | grep -c '<img ')" = 15 ]
	[ "$(words | grep -o '<img [^>]*src="data:image/[a-z+]*;base64,…">' | wc -l)" = 15 ]
	words | grep -qF '<td>Cross Self Vision</td><td class="n">1</td>'
	words | grep -qF '<td>cross-language.1</td>'
	words | grep -qF "<td>prune-cross</td>"
	score=$(vqa-score --json -l "$BATS_FILE_TMPDIR/data/test-labels.json" "${page%/*}/test_predict.json" | jq '.accuracy * 100')
	words | grep -qF "<span>all</span><div><i style=\"width:$score%\"></i></div><b>$(printf %.2f "$score") %</b>"
	[ "$(tail -n 1 "$BATS_FILE_TMPDIR/errors")" = "$page" ]
	[ "$(tail -n 1 "$page" | tail -c 15)" = '</body></html>' ]
}

@test "an image is what the programs draw" {
	sed -n 's/.*<img alt="alphas by layer" src="data:image\/svg+xml;base64,\([^"]*\)">.*/\1/p' "$page" | base64 -d >got.svg
	(cd "${page%/*}" && alphareport -p "$BATS_TEST_TMPDIR/want.svg" BEST.safetensors)
	cmp got.svg want.svg
}

@test "nothing outside the page is referred to, and text stays text" {
	words | sed 's/&lt;[^<]*&gt;//g' >text
	[ "$(grep -cE '<(script|link|iframe|object|embed|base|a|video|audio|form)[ >]' text || true)" = 0 ]
	[ "$(grep -cE '(src|href|url|action|background)=?["( ]*(https?:|//|file:|/)' text || true)" = 0 ]
	words | grep -qF "is &lt;script&gt;alert(1)&lt;/script&gt; &quot;&amp; &lt;img src=http://a.b/c&gt;"
	grep -qF "Content-Security-Policy\" content=\"default-src 'none'; img-src data:; style-src 'unsafe-inline'\"" text
}

# chromium OPTION… FILE: the page as the browser has it, on stdout.
browse() {
	HOME=$PWD timeout 120 chromium --headless --no-sandbox --disable-gpu --disable-dev-shm-usage --user-data-dir="$PWD/browser" \
		--host-resolver-rules='MAP * ~NOTFOUND' "$@" 2>browser.err
}

@test "in a browser: all images show, nothing is wider than a phone, nothing runs" {
	command -v chromium >/dev/null || skip "chromium is not installed"
	browse --dump-dom "file://$page" | sed 's/base64,[A-Za-z0-9+/=]*/base64,…/g' >dom
	[ "$(grep -c '<h2>' dom)" = 8 ]
	[ "$(grep -o '<img ' dom | wc -l)" = 15 ]
	[ "$(grep -c '<script' dom || true)" = 0 ]
	# A copy that measures itself.
	{
		grep -v Content-Security-Policy "$page"
		cat <<-'END'
			<script>addEventListener("load", () => {
				document.body.dataset.broken = [...document.images].filter(image => !(image.naturalWidth > 100)).length
				document.body.dataset.beyond = document.documentElement.scrollWidth - innerWidth
			})</script>
		END
	} >measured.html
	browse --window-size=500,900 --dump-dom "file://$PWD/measured.html" | grep -o '<body[^>]*>' >body
	grep -q 'data-broken="0"' body
	grep -q 'data-beyond="\(0\|-[0-9]*\)"' body
	browse --window-size=1000,900 --screenshot="$PWD/page.png" "file://$page" >/dev/null
	[ "$(head -c 8 page.png | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ]
}

@test "a run's folder by its path, without spans, alphas, labels or pictures" {
	cp -r "$BATS_FILE_TMPDIR/data" plain
	rm -r plain/images plain/test-labels.json
	mkdir run
	ckpt-init -L 1,1,1 -H 16 -n 4 -F 16 -f 360 -A plain/answers.json run/LAST.safetensors
	DATA=$(realpath --relative-to="$ROOT/data" plain) "$ROOT/pipelines/report" run
	page=run/report.html
	[ "$(words | grep -o '<h2>[^<]*' | cut -c 5- | tr '\n' ';')" = 'What was asked, answered and looked at;Attention;Multiplications a question;Configuration;' ]
	[ "$(words | grep -c '<img ')" = 10 ]
}

@test "a run in its first epoch; words of questions that shells and tables would take apart" {
	cp -r "$BATS_FILE_TMPDIR/data" data
	jq '.[0].sent = "a\tb\\c\nd" | .[1].sent = "" | .[1].label = {"blue": 1}' "$BATS_FILE_TMPDIR/data/test-labels.json" >data/test-labels.json
	mkdir run
	ckpt-init -a -L 1,1,1 -H 16 -n 4 -F 16 -f 360 -A data/answers.json run/LAST.safetensors
	printf 'step\ttotal\taccuracy\n1\t3\t0.2\n2\t2\t0.3\n' >run/log.tsv
	printf 'Epoch 0: Train 40.00\nLoss: 2\tAdapt Span Loss: 3' >run/log.log
	run --separate-stderr env DATA="$(realpath --relative-to="$ROOT/data" data)" "$ROOT/pipelines/report" run
	[ "$status" = 0 ]
	# shellcheck disable=SC2154 # of bats
	[ "$stderr" = "$PWD/run/report.html" ]
	page=run/report.html
	words | grep -qF '<h2>Adaptive spans</h2>'
	words | grep -qF '<figcaption>a b\c d <b>'
	words | grep -q '^<figcaption> <b>.* <span class="wrong">(it is blue)</span>'
}

@test "text and paths cannot reach gnuplot" {
	name="run'; system('touch ran'); '"
	mkdir -p snap
	cp -r "$BATS_FILE_TMPDIR/data" data
	cp -r "$BATS_FILE_TMPDIR/snap/adaptive-sparse" "snap/$name"
	rm "snap/$name"/*.png
	TEXT="\`touch ran\` \"; system(\"touch ran\") \\ '; system('touch ran'); '"$'\n'"system('touch ran')"
	export TEXT
	jq '.[0].sent = env.TEXT | .[1].sent = "" | .[2].label = {} | .[3].img_id = "none"' "$BATS_FILE_TMPDIR/data/test-labels.json" >data/test-labels.json
	jq 'map(.answer = env.TEXT)' "$BATS_FILE_TMPDIR/snap/adaptive-sparse/test_predict.json" >"snap/$name/test_predict.json"
	mkdir bin
	printf '#!/bin/sh\ntee -a "%s/scripts" | %s "$@"\n' "$PWD" "$(command -v gnuplot)" >bin/gnuplot
	chmod +x bin/gnuplot
	PATH=$PWD/bin:$PATH DATA=$(realpath --relative-to="$ROOT/data" data) SNAP=$PWD/snap "$ROOT/pipelines/pictures" "$name"
	for picture in curve answers; do
		[ "$(head -c 8 "snap/$name/$picture.png" | od -An -tx1 | tr -d ' ')" = 89504e470d0a1a0a ]
	done
	[ -z "$(find . "$ROOT" -maxdepth 2 -name ran)" ]
	[ "$(grep -c "^plot \"[0-9]*.png\" binary" scripts)" = 7 ]
	grep -qF "set title '\`touch ran\` \"; system(\"touch ran\") \\ ’; system(’touch ran’); ’ system(’touch ran’)'.\"\\n\".'" scripts
}

@test "what is no run" {
	fails_with 2 "usage: pipelines/report NAME" "$ROOT/pipelines/report"
	fails_with 1 "none: no run's folder, in 'snap' or elsewhere" env SNAP=snap "$ROOT/pipelines/report" none
	mkdir empty
	fails_with 1 "$PWD/empty: neither BEST.safetensors nor LAST.safetensors: nothing was trained yet" "$ROOT/pipelines/report" "$PWD/empty"
	# A part that fails leaves no page.
	cp -r "$BATS_FILE_TMPDIR/snap/adaptive-sparse" broken
	rm broken/report.html
	echo x >broken/test_predict.json
	run -1 run_pipeline report "$PWD/broken"
	[ ! -e broken/report.html ]
}
