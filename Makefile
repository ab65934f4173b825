# vqa: `make` builds, `make check` tests, `make pipelines/train-sparse` does the whole job; README.md tells the rest.

VERSION = 0.1
PREFIX = /usr/local
DESTDIR =
DATA ?= easy-vqa
BUILD = build

# Everything that a fresh Debian 12 needs, in one place: to build and run, to fetch the data, to test.
PACKAGES_BUILD = gcc g++ make pkg-config libc6-dev libdnnl-dev libgomp1 libmsgpack-dev liblmdb-dev libjansson-dev libutf8proc-dev libpng-dev zlib1g-dev libopenmpi-dev
PACKAGES_RUN = jq gnuplot-nox curl unzip ca-certificates python3-pip openmpi-bin
PACKAGES_CHECK = bats git libcmocka-dev mandoc shellcheck clang clang-format libclang-rt-14-dev python3-msgpack procps zsh chromium
PACKAGES_BENCH = python3-dev linux-perf
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
# Of vqa-allreduce alone. Asked for when it is built: the package may have come since make began.
MPI_CPPFLAGS = $(patsubst -I%,-isystem %,$(shell pkg-config --cflags ompi-c))
MPI_LDLIBS = $(shell pkg-config --libs ompi-c)

# CUDA's own libraries come from NVIDIA, with nvcc: where it is, libvqa-cuda.so is built; CUDA=0 or 1 decides otherwise.
NVCC = nvcc
CUDA_HOME = $(patsubst %/bin/,%,$(dir $(realpath $(shell command -v $(NVCC)))))
CUDA_CARDS = -gencode arch=compute_80,code=sm_80 -gencode arch=compute_90,code=sm_90 -gencode arch=compute_90,code=compute_90
CUDA_CXXFLAGS = -std=c++20 -fPIC -Wall -Wextra -Wno-missing-field-initializers -iquote lib
# A kernel that spills registers fails the build.
NVCCFLAGS = -std=c++20 -O3 -Werror all-warnings -Xptxas -warn-spills,-Werror $(CUDA_CARDS)
# All four as NEEDED, cuBLAS with its part Lt.
CUDA_LDLIBS = -L$(CUDA_HOME)/lib64 -Wl,--no-as-needed -lcudart -lcublas -lcublasLt -lcudnn
comma = ,
empty =
space = $(empty) $(empty)
-include $(BUILD)/config.mk

LIB_SRC = $(wildcard lib/sys/*.c lib/stream/*.c lib/text/*.c lib/feat/*.c lib/ckpt/*.c lib/model/*.c lib/train/*.c lib/op/*.c lib/report/*.c)
CPU_SRC = $(wildcard lib/op/cpu/*.c)
CUDA_SRC = $(wildcard lib/op/cuda/*.cu)
EMU_SRC = $(wildcard tests/emu/*.cpp)
PROGRAMS = $(patsubst cmd/%.c,%,$(wildcard cmd/*.c))
LIB_OBJ = $(LIB_SRC:%.c=$(BUILD)/%.o)
CPU_OBJ = $(CPU_SRC:%.c=$(BUILD)/%.o)
CUDA_OBJ = $(CUDA_SRC:%.cu=$(BUILD)/%.o) $(BUILD)/lib/op/cuda/table.o
EMU_TESTS = $(patsubst tests/emu/%.cu,$(BUILD)/emu/tests/%,$(wildcard tests/emu/*_test.cu))
EMU_OBJ = $(CUDA_SRC:%.cu=$(BUILD)/emu/%.o) $(EMU_SRC:%.cpp=$(BUILD)/emu/%.o) $(BUILD)/lib/op/cuda/table.o
BIN = bin
LIBDIR = $(BUILD)
UNIT_TESTS = $(patsubst tests/lib/%.c,$(BUILD)/tests/%,$(wildcard tests/lib/*_test.c))
FUZZERS = $(patsubst tests/fuzz/%.c,%,$(wildcard tests/fuzz/*_fuzz.c))
REPLAYS = $(FUZZERS:%=$(BUILD)/tests/%)
PAGES = $(wildcard man/*.[157])

VARIANTS = softmax sparse adaptive adaptive-sparse layerdrop
PIPELINES = $(VARIANTS:%=train-%) $(VARIANTS:%=test-%) table

.PHONY: all emu clean deps deps-run data bench completions install
.PHONY: check check-gpu bench-gpu check-built test-programs check-style check-sanitize fuzz fuzz-run fuzzers
.PHONY: $(PIPELINES:%=pipelines/%) data/vqa2
.DELETE_ON_ERROR:
.SECONDARY:

all: $(LIBDIR)/libvqa-cpu.so $(PROGRAMS:%=$(BIN)/%)
ifeq ($(CUDA),1)
all: $(LIBDIR)/libvqa-cuda.so
endif

# Looked for once; said, unless CUDA= said it.
$(BUILD)/config.mk:
	@mkdir -p $(@D)
	@if command -v $(NVCC) >/dev/null; then echo 'CUDA = 1'; else echo 'CUDA = 0'; fi >$@
ifneq ($(origin CUDA),command line)
	@sed 's/CUDA = 1/nvcc is here: libvqa-cuda.so will be built (CUDA=0: not)/; s/CUDA = 0/no nvcc here: without libvqa-cuda.so/' $@ >&2
endif

$(LIBDIR)/libvqa.so: $(LIB_OBJ)
	$(CC) -shared $(SANITIZE) -Wl,-soname,libvqa.so -o $@ $^ $(LIB_LDLIBS)

$(LIBDIR)/libvqa-cpu.so: $(CPU_OBJ) $(LIBDIR)/libvqa.so
	$(CC) -shared $(SANITIZE) -Wl,-soname,libvqa-cpu.so -o $@ $(CPU_OBJ) -L$(LIBDIR) -lvqa $(CPU_LDLIBS)

$(LIBDIR)/libvqa-cuda.so: $(CUDA_OBJ) $(LIBDIR)/libvqa.so
	$(CXX) -shared -Wl,-soname,libvqa-cuda.so -o $@ $(CUDA_OBJ) -L$(LIBDIR) -lvqa $(CUDA_LDLIBS)

$(BUILD)/lib/op/cuda/%.o: lib/op/cuda/%.cu
	@mkdir -p $(@D)
	$(NVCC) $(NVCCFLAGS) -Xcompiler $(subst $(space),$(comma),$(filter-out -std=%,$(CUDA_CXXFLAGS))) -MMD -MP -c -o $@ $<

# The same sources over a CUDA on the CPU (tests/emu), for tests alone.
emu: $(BUILD)/emu/libvqa-cuda.so

$(BUILD)/emu/libvqa-cuda.so: $(EMU_OBJ) $(LIBDIR)/libvqa.so
	$(CXX) -shared $(SANITIZE) -Wl,-soname,libvqa-cuda.so -o $@ $(EMU_OBJ) -L$(LIBDIR) -lvqa -ldl

$(BUILD)/emu/tests/%: $(BUILD)/emu/tests/emu/%.o $(EMU_SRC:%.cpp=$(BUILD)/emu/%.o)
	@mkdir -p $(@D)
	$(CXX) $(SANITIZE) -o $@ $^ -lcmocka -ldl

EMU_CXXFLAGS = $(CUDA_CXXFLAGS) -Wshadow -Wvla -Wpointer-arith -Werror $(CFLAGS) -I tests/emu $(SANITIZE) -MMD -MP

$(BUILD)/emu/%.o: %.cu
	@mkdir -p $(@D)
	$(CXX) -x c++ $(EMU_CXXFLAGS) -c -o $@ $<

$(BUILD)/emu/%.o: %.cpp
	@mkdir -p $(@D)
	$(CXX) $(EMU_CXXFLAGS) -c -o $@ $<

$(BUILD)/lib/op/cpu/%.o: lib/op/cpu/%.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) $(CPU_CFLAGS) -c -o $@ $<

$(BUILD)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(ALL_CFLAGS) -c -o $@ $<

$(BUILD)/cmd/vqa-allreduce.o: CPPFLAGS += $(MPI_CPPFLAGS)
$(BIN)/vqa-allreduce: PROGRAM_LDLIBS = $(MPI_LDLIBS)

# Programs find the libraries beside themselves in the tree (build) and when installed (../lib).
$(BIN)/%: $(BUILD)/cmd/%.o $(LIBDIR)/libvqa.so
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) -o $@ $< -L$(LIBDIR) -lvqa -lmsgpackc -ljansson -lm $(PROGRAM_LDLIBS) -Wl,-rpath,'$$ORIGIN/../lib:$$ORIGIN/../build:$$ORIGIN/..'

$(BUILD)/tests/%: $(BUILD)/tests/lib/%.o $(LIBDIR)/libvqa.so
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) -o $@ $< -L$(LIBDIR) -lvqa -lcmocka -lmsgpackc -ljansson -lpng -lm -Wl,-rpath,'$$ORIGIN/..'

# A fuzz target whose inputs are the files of its corpus.
$(BUILD)/tests/%_fuzz: $(BUILD)/tests/fuzz/%_fuzz.o $(BUILD)/tests/fuzz/replay.o $(LIBDIR)/libvqa.so
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) -o $@ $(filter %.o,$^) -L$(LIBDIR) -lvqa -lmsgpackc -ljansson -lm -Wl,-rpath,'$$ORIGIN/..'

-include $(LIB_OBJ:.o=.d) $(CPU_OBJ:.o=.d) $(CUDA_OBJ:.o=.d) $(wildcard $(BUILD)/emu/*/*/*.d $(BUILD)/emu/lib/op/cuda/*.d) $(PROGRAMS:%=$(BUILD)/cmd/%.d) $(wildcard $(BUILD)/tests/*/*.d)

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

data/vqa2/whole:
	pipelines/vqa2

data/vqa2: deps-run
	$(MAKE) all
	$(MAKE) data DATA=vqa2

$(PIPELINES:%=pipelines/%): deps-run
	$(MAKE) all
	$(MAKE) data
	DATA=$(DATA) $@

# --- Tests. `make check` is everything; tests/run prints the closing line.
BATS = $(sort $(wildcard tests/*.bats))
ASAN = BUILD=build/asan LIBDIR=build/asan BIN=build/asan/bin CFLAGS='-O1 -g' \
	SANITIZE='-fsanitize=address,undefined -fno-sanitize-recover=all'

# As many at once as there are processors, where make was not told how many.
JOBS = $(if $(filter -j%,$(MAKEFLAGS)),,-j$(shell nproc))

check: deps
	$(MAKE) $(JOBS) all emu test-programs
	$(MAKE) data
	$(MAKE) check-built

# Unit tests, and the fuzz targets that replay their corpora.
test-programs: $(UNIT_TESTS) $(REPLAYS) $(EMU_TESTS)

# What is in CUDA runs once more over it: on tests/emu, or on a card.
OPS_ON_CUDA = $(BUILD)/tests/op_test $(BUILD)/tests/attention_test $(BUILD)/tests/nccl_test
ON_CUDA = $(OPS_ON_CUDA) tests/golden.bats

check-built:
	VQA_EMU=$(CURDIR)/$(BUILD)/emu/libvqa-cuda.so tests/run $(UNIT_TESTS) $(EMU_TESTS) $(REPLAYS) $(BATS) $(ON_CUDA:%=emu:%)

# On a real card, which this needs; compute-sanitizer (NVIDIA's) looks for what tests/emu looks for, where it is installed.
check-gpu: deps
	$(MAKE) CUDA=1 all test-programs
	VQA_TEST_DEVICE=cuda tests/run $(ON_CUDA) tests/cuda.bats
	! command -v compute-sanitizer >/dev/null || for tool in memcheck racecheck initcheck; do for test in attention_test op_test; do \
		VQA_TEST_DEVICE=cuda compute-sanitizer --tool $$tool --error-exitcode 1 $(BUILD)/tests/$$test || exit 1; done; done

# The same once more under ASan and UBSan; long trainings (kill.bats) are left to the release build.
check-sanitize: deps
	$(MAKE) $(JOBS) $(ASAN) CUDA=0 all emu test-programs
	VQA_BIN=$(CURDIR)/build/asan/bin VQA_SANITIZED=1 $(MAKE) $(ASAN) ON_CUDA='$$(OPS_ON_CUDA)' check-built

check-style:
	clang-format --dry-run -Werror $$(git ls-files '*.c' '*.h' '*.cu' '*.cpp')
	shellcheck -x pipelines/* tests/run tests/bench/run tests/helper.bash .ci/run
	! mandoc -T lint $(PAGES) | grep -v 'referenced manual not found\|outdated mandoc.db'

# --- Fuzzing, a target a parser. `make fuzz` builds them; `make fuzz-run FUZZ_TIME=60` runs each that many seconds, from its
# corpus on: what is new goes to build/fuzz/found/TARGET, what crashes to build/fuzz/TARGET-….
FUZZ = BUILD=build/fuzz CC=clang CFLAGS='-O1 -g' WARNINGS= \
	SANITIZE='-fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all'
FUZZ_TIME = 60
FUZZ_LIMITS = -max_total_time=$(FUZZ_TIME) -max_len=8192 -rss_limit_mb=2048 -timeout=10 -print_final_stats=1

fuzz: deps
	$(MAKE) $(FUZZ) fuzzers

fuzzers: $(FUZZERS:%=$(BUILD)/%)

$(BUILD)/%_fuzz: $(BUILD)/tests/fuzz/%_fuzz.o $(LIB_OBJ)
	$(CC) $(SANITIZE) -fsanitize=fuzzer -o $@ $^ $(LIB_LDLIBS)

fuzz-run: fuzz
	set -e; for target in $(FUZZERS); do \
		mkdir -p build/fuzz/found/$$target; \
		build/fuzz/$$target $(FUZZ_LIMITS) -artifact_prefix=build/fuzz/$$target- \
			build/fuzz/found/$$target tests/fuzz/corpus/$${target%_fuzz}; \
	done

# Against PyTorch, OpenVINO and ONNX Runtime, which are fetched into build/bench; without them, our own figures. BENCH=ROW picks rows.
bench: deps
	$(call need,$(PACKAGES_BENCH))
	$(MAKE) all
	tests/bench/run

# Questions a second on a card, for answers and training, beside PyTorch where BENCH_PYTHON has one that can use it.
bench-gpu: deps
	$(MAKE) CUDA=1 all
	BENCH_DEVICE=cuda tests/bench/run

# --- Installation. The programs print their shells' completions themselves.
BASH_COMPLETIONS = $(PROGRAMS:%=$(BUILD)/completions/bash/%)
ZSH_COMPLETIONS = $(PROGRAMS:%=$(BUILD)/completions/zsh/_%)
SHARE = $(DESTDIR)$(PREFIX)/share

completions: $(BASH_COMPLETIONS) $(ZSH_COMPLETIONS)

$(BUILD)/completions/bash/%: $(BIN)/%
	@mkdir -p $(@D)
	$< --completion bash >$@

$(BUILD)/completions/zsh/_%: $(BIN)/%
	@mkdir -p $(@D)
	$< --completion zsh >$@

install: all completions
	install -d $(DESTDIR)$(PREFIX)/bin $(DESTDIR)$(PREFIX)/lib/pkgconfig $(SHARE)/vqa
	install -d $(SHARE)/bash-completion/completions $(SHARE)/zsh/site-functions
	install -m 755 $(PROGRAMS:%=$(BIN)/%) $(DESTDIR)$(PREFIX)/bin
	install -m 755 $(LIBDIR)/libvqa.so $(LIBDIR)/libvqa-cpu.so $(if $(filter 1,$(CUDA)),$(LIBDIR)/libvqa-cuda.so) $(DESTDIR)$(PREFIX)/lib
	install -m 644 lib/text/bert-base-uncased-vocab.txt $(SHARE)/vqa
	install -m 644 $(BASH_COMPLETIONS) $(SHARE)/bash-completion/completions
	install -m 644 $(ZSH_COMPLETIONS) $(SHARE)/zsh/site-functions
	for page in $(PAGES); do install -D -m 644 $$page $(SHARE)/man/man$${page##*.}/$${page##*/} || exit 1; done
	printf 'Name: vqa\nDescription: adaptive transformers for visual question answering\nVersion: %s\nLibs: -L%s/lib -lvqa\n' \
		'$(VERSION)' '$(PREFIX)' >$(DESTDIR)$(PREFIX)/lib/pkgconfig/vqa.pc

clean:
	rm -rf build bin
