# vqa: `make` builds, `make check` tests, `make pipelines/train-sparse` does the whole job; README.md tells the rest.

VERSION = 0.1
PREFIX = /usr/local
DESTDIR =
DATA = easy-vqa
BUILD = build

# Everything that a fresh Debian 12 needs, in one place: to build and run, to fetch the data, to test.
PACKAGES_BUILD = gcc g++ make pkg-config libc6-dev libdnnl-dev libgomp1 libmsgpack-dev liblmdb-dev libjansson-dev libutf8proc-dev libpng-dev zlib1g-dev
PACKAGES_RUN = jq gnuplot-nox unzip ca-certificates python3-pip
PACKAGES_CHECK = bats libcmocka-dev mandoc shellcheck clang clang-format libclang-rt-14-dev python3-msgpack procps
PACKAGES = $(PACKAGES_BUILD) $(PACKAGES_RUN) $(PACKAGES_CHECK)

CC = gcc
CFLAGS = -O2 -g
WARNINGS = -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wvla -Wshadow -Wpointer-arith -Werror
SANITIZE =
CPPFLAGS = -iquote lib -D_GNU_SOURCE -DVQA_VERSION='"$(VERSION)"'
ALL_CFLAGS = -std=gnu11 -fPIC $(CFLAGS) $(WARNINGS) $(CPPFLAGS) $(SANITIZE) -MMD -MP
# The loops of the CPU backend may be reordered in no way that changes a result; errno and traps are not looked at there.
CPU_CFLAGS = -O3 -fopenmp -fno-math-errno -fno-trapping-math
LIB_LDLIBS = -lmsgpackc -llmdb -lz -ljansson -lutf8proc -lpng -lpthread -ldl -lm
CPU_LDLIBS = -fopenmp -ldnnl -lm

LIB_SRC = $(wildcard lib/sys/*.c lib/stream/*.c lib/text/*.c lib/feat/*.c lib/ckpt/*.c lib/model/*.c lib/train/*.c lib/op/*.c)
CPU_SRC = $(wildcard lib/op/cpu/*.c)
PROGRAMS = $(patsubst cmd/%.c,%,$(wildcard cmd/*.c))
LIB_OBJ = $(LIB_SRC:%.c=$(BUILD)/%.o)
CPU_OBJ = $(CPU_SRC:%.c=$(BUILD)/%.o)
BIN = bin
LIBDIR = $(BUILD)
UNIT_TESTS = $(patsubst tests/lib/%.c,$(BUILD)/tests/%,$(wildcard tests/lib/*_test.c))
FUZZERS = $(patsubst tests/fuzz/%_fuzz.c,%,$(wildcard tests/fuzz/*_fuzz.c))
PAGES = $(wildcard man/*.[157])

PIPELINES = train-softmax train-sparse

.PHONY: all clean deps deps-run data bench install fuzz check check-built check-style check-sanitize check-fuzz
.PHONY: $(PIPELINES:%=pipelines/%)
.DELETE_ON_ERROR:
.SECONDARY:

all: $(LIBDIR)/libvqa-cpu.so $(PROGRAMS:%=$(BIN)/%)

$(LIBDIR)/libvqa.so: $(LIB_OBJ)
	$(CC) -shared $(SANITIZE) -Wl,-soname,libvqa.so -o $@ $^ $(LIB_LDLIBS)

$(LIBDIR)/libvqa-cpu.so: $(CPU_OBJ) $(LIBDIR)/libvqa.so
	$(CC) -shared $(SANITIZE) -Wl,-soname,libvqa-cpu.so -o $@ $(CPU_OBJ) -L$(LIBDIR) -lvqa $(CPU_LDLIBS)

$(BUILD)/lib/op/cpu/%.o: lib/op/cpu/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(CPU_CFLAGS) -c -o $@ $<

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

# Programs find the libraries beside themselves in the tree (build) and when installed (../lib).
$(BIN)/%: $(BUILD)/cmd/%.o $(LIBDIR)/libvqa.so
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) -o $@ $< -L$(LIBDIR) -lvqa -lmsgpackc -ljansson -lm -Wl,-rpath,'$$ORIGIN/../lib:$$ORIGIN/../build:$$ORIGIN/..'

$(BUILD)/tests/%: $(BUILD)/tests/lib/%.o $(LIBDIR)/libvqa.so
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) -o $@ $< -L$(LIBDIR) -lvqa -lcmocka -lmsgpackc -ljansson -lpng -lm -Wl,-rpath,'$$ORIGIN/..'

-include $(LIB_OBJ:.o=.d) $(CPU_OBJ:.o=.d) $(PROGRAMS:%=$(BUILD)/cmd/%.d) $(wildcard $(BUILD)/tests/lib/*.d)

# --- Packages. As root what is missing is installed; else it is named. $(call need,PACKAGES)
define need
	@missing=; for p in $(1); do dpkg-query -W -f '$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; done; \
	if [ -z "$$missing" ]; then :; \
	elif ! command -v apt-get >/dev/null; then echo "not a Debian system; this needs what Debian calls:$$missing" >&2; exit 1; \
	elif [ "$$(id -u)" = 0 ]; then apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends $$missing; \
	else echo "missing packages; as root: apt-get install --no-install-recommends$$missing" >&2; exit 1; fi
endef

deps-run:
	$(call need,$(PACKAGES_BUILD) $(PACKAGES_RUN))

deps:
	$(call need,$(PACKAGES))

# --- Data and pipelines. The build is a second make, since the compiler may just have been installed.
EASY_VQA = easy_vqa-1.0-py3-none-any.whl
EASY_VQA_SHA256 = fcb51b309b78c7b00f97b64cdbcbcf5c105f94da1b39c0796cee5a787c4f650f

data: data/$(DATA)/whole

data/$(EASY_VQA):
	@mkdir -p data $(BUILD)/fetch
	python3 -m pip download -q --disable-pip-version-check --no-deps --only-binary :all: --dest $(BUILD)/fetch easy-vqa==1.0
	echo '$(EASY_VQA_SHA256)  $(BUILD)/fetch/$(EASY_VQA)' | sha256sum -c --quiet
	mv $(BUILD)/fetch/$(EASY_VQA) $@

data/easy-vqa/whole: | data/$(EASY_VQA)
	pipelines/easy-vqa data/$(EASY_VQA)

$(PIPELINES:%=pipelines/%): deps-run
	$(MAKE) all
	$(MAKE) data
	DATA=$(DATA) $@

# --- Tests. `make check` is everything; tests/run prints the closing line.
BATS = $(sort $(wildcard tests/*.bats))
ASAN = BUILD=build/asan LIBDIR=build/asan BIN=build/asan/bin CFLAGS='-O1 -g' SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=all'
FUZZ_CC = clang

check: deps
	$(MAKE) all $(UNIT_TESTS)
	$(MAKE) check-built

check-built:
	tests/run $(UNIT_TESTS) $(BATS)

# The programs, the parsers' corpora and bad input once more under ASan and UBSan; trainings run in the release build only.
check-sanitize:
	$(MAKE) $(ASAN) all unit-tests
	VQA_BIN=$(CURDIR)/build/asan/bin VQA_SANITIZED=1 ASAN_OPTIONS=detect_leaks=0 tests/run \
		$(UNIT_TESTS:$(BUILD)/%=build/asan/%) $(BATS)

unit-tests: $(UNIT_TESTS)
.PHONY: unit-tests

check-style:
	clang-format --dry-run -Werror $$(git ls-files '*.c' '*.h')
	shellcheck -x pipelines/* tests/run tests/helper.bash .ci/run
	mandoc -T lint -W warning $(PAGES)

# A fuzzer a parser: `make fuzz` builds them into build/fuzz; check replays their corpora.
fuzz: $(FUZZERS:%=build/fuzz/%)

build/fuzz/%: tests/fuzz/%_fuzz.c $(LIB_SRC)
	@mkdir -p $(@D)
	$(FUZZ_CC) -std=gnu11 -g -O1 -fsanitize=fuzzer,address,undefined $(CPPFLAGS) -o $@ $^ $(LIB_LDLIBS)

# Against PyTorch, which is fetched into build/bench; without it, our own figures.
bench: deps
	$(MAKE) all
	tests/bench

# --- Installation.
install: all
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(DESTDIR)$(PREFIX)/share/vqa
	install -m 755 $(PROGRAMS:%=$(BIN)/%) $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(LIBDIR)/libvqa.so $(LIBDIR)/libvqa-cpu.so $(DESTDIR)$(PREFIX)/lib
	install -m 644 lib/text/bert-base-uncased-vocab.txt $(DESTDIR)$(PREFIX)/share/vqa
	for page in $(PAGES); do install -D -m 644 $$page $(DESTDIR)$(PREFIX)/share/man/man$${page##*.}/$${page##*/} || exit 1; done
	printf 'Name: vqa\nDescription: adaptive transformers for visual question answering\nVersion: %s\nLibs: -L%s/lib -lvqa\n' \
		'$(VERSION)' '$(PREFIX)' >$(DESTDIR)$(PREFIX)/lib/pkgconfig/vqa.pc

clean:
	rm -rf build bin
