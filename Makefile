# vqa: `make` builds, `make check` tests, `make pipelines/train-sparse` does the whole job; README.md tells the rest.

VERSION = 0.1
PREFIX = /usr/local
DESTDIR =
DATA = easy-vqa
BUILD = build

# Everything that a fresh Debian 12 needs, in one place: to build and run, to fetch the data, to test.
PACKAGES_BUILD = gcc g++ make pkg-config libc6-dev libdnnl-dev libgomp1 libmsgpack-dev liblmdb-dev libjansson-dev libutf8proc-dev libpng-dev
PACKAGES_RUN = jq gnuplot-nox unzip ca-certificates python3-pip
PACKAGES_CHECK = bats libcmocka-dev mandoc shellcheck clang clang-format libclang-rt-14-dev python3-msgpack procps
PACKAGES = $(PACKAGES_BUILD) $(PACKAGES_RUN) $(PACKAGES_CHECK)

CC = gcc
CFLAGS = -O2 -g
WARNINGS = -Wall -Wextra -Wmissing-prototypes -Wstrict-prototypes -Wvla -Wshadow -Wpointer-arith -Werror
SANITIZE =
CPPFLAGS = -Ilib -D_GNU_SOURCE -DVQA_VERSION='"$(VERSION)"'
ALL_CFLAGS = -std=gnu11 -fPIC $(CFLAGS) $(WARNINGS) $(CPPFLAGS) $(SANITIZE) -MMD -MP
# The loops of the CPU backend may be reordered in no way that changes a result; errno and traps are not looked at there.
CPU_CFLAGS = -O3 -fopenmp -fno-math-errno -fno-trapping-math
LIB_LDLIBS = -lmsgpackc -llmdb -ljansson -lutf8proc -lpng -lpthread -ldl -lm
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

.PHONY: all clean deps check check-unit check-bats check-style check-sanitize check-gpu bench install fuzz data
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
	$(CC) $(SANITIZE) -o $@ $< -L$(LIBDIR) -lvqa -lmsgpackc -ljansson -lm -Wl,-rpath,'$$ORIGIN/../$(LIBDIR):$$ORIGIN/../lib'

$(BUILD)/tests/%: $(BUILD)/tests/lib/%.o $(LIBDIR)/libvqa.so
	@mkdir -p $(@D)
	$(CC) $(SANITIZE) -o $@ $< -L$(LIBDIR) -lvqa -lcmocka -lmsgpackc -ljansson -lpng -lm -Wl,-rpath,'$$ORIGIN/..'

-include $(LIB_OBJ:.o=.d) $(CPU_OBJ:.o=.d) $(PROGRAMS:%=$(BUILD)/cmd/%.d) $(wildcard $(BUILD)/tests/lib/*.d)

clean:
	rm -rf $(BUILD) bin
