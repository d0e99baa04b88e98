# parley: one makefile, not recursive. `make help` lists the targets.
#
# What is built lands in build/VARIANT/, which mirrors the source tree: one object per source, one
# archive of everything under common/, three programs, one test program per tests/*/test_*.c.
# `make check` and `make demo` also work as the first command on a machine that has only gcc and
# make: they install what is missing and then start make anew, so that pkg-config is there when this
# file is read again.

VARIANT ?= release
BUILD   ?= build
B       := $(BUILD)/$(VARIANT)
PREFIX  ?= /usr/local
JOBS    ?= $(shell nproc 2>/dev/null || echo 2)
# Debian's own Python: pytest, pexpect and pyte are installed for that one, whatever is first in PATH.
PYTHON  ?= /usr/bin/python3

# --- flags ----------------------------------------------------------------------------------------

CFLAGS_release := -O2 -g
CFLAGS_debug   := -O0 -g3
CFLAGS_asan    := -O1 -g -fsanitize=address,undefined -fno-omit-frame-pointer
CFLAGS_tsan    := -O1 -g -fsanitize=thread
# Built by clang only: `make fuzz` sees to it.
CFLAGS_fuzz    := -O1 -g -fsanitize=fuzzer-no-link,address,undefined -fno-sanitize-recover=all
CFLAGS_variant := $(or $(CFLAGS_$(VARIANT)),$(error VARIANT=$(VARIANT) is none of: release debug asan tsan fuzz))

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
CPPFLAGS_ALL := -D_GNU_SOURCE -Icommon -I. -Iclient/lib/include $(LIB_CFLAGS) $(CPPFLAGS)
CFLAGS_ALL    = -std=c11 $(WARN) $(CFLAGS_variant) -MMD -MP $(CPPFLAGS_ALL) $(CFLAGS)
LDFLAGS_ALL  := $(CFLAGS_variant) -Wl,--as-needed $(LDFLAGS)

# --- libraries ------------------------------------------------------------------------------------
# pkg-config says how to link them. Without it (or with one of them missing) the plain names are
# used, and `need-libs` says what to install before anything is compiled.

PC_COMMON := libisal libutf8proc openssl
PC_SERVER := libuv inih libsodium libseccomp
PC_CLIENT := libuv inih readline jansson libsodium
PC_WEB    := libwebsockets libseccomp
PC_TEST   := cmocka

pc_plain = $(patsubst %,-l%,$(patsubst lib%,%,$(subst openssl,ssl crypto,$(1))))
pc_libs  = $(or $(shell pkg-config --libs $(1) 2>/dev/null),$(call pc_plain,$(1)))

COMMON_LIBS := $(call pc_libs,$(PC_COMMON)) -lpthread
SERVER_LIBS := $(call pc_libs,$(PC_SERVER))
CLIENT_LIBS := $(call pc_libs,$(PC_CLIENT))
WEB_LIBS    := $(call pc_libs,$(PC_WEB))
TEST_LIBS   := $(call pc_libs,$(PC_TEST))
LIB_CFLAGS  := $(shell pkg-config --cflags-only-I $(PC_COMMON) $(PC_SERVER) $(PC_CLIENT) $(PC_WEB) 2>/dev/null)
NEED_LIBS   := $(if $(shell pkg-config --exists $(PC_COMMON) $(PC_SERVER) $(PC_CLIENT) $(PC_WEB) 2>/dev/null \
                   && test -e /usr/include/uthash.h && echo yes),,need-libs)

# --- sources --------------------------------------------------------------------------------------

COMMON_SRC := $(sort $(wildcard common/*/*.c))
SERVER_SRC := $(sort $(wildcard server/*.c))
WEB_SRC    := $(sort $(wildcard client/web/*.c))
CLIENT_SRC := $(sort $(filter-out $(WEB_SRC),$(wildcard client/*.c client/*/*.c)))
LIB_SRC    := $(sort $(wildcard client/lib/*.c))
TEST_SRC   := $(sort $(wildcard tests/unit/test_*.c tests/contract/test_*.c))
# Helpers that every test program may use; they are in an archive, so only what is used is linked.
SUPPORT_SRC := $(sort $(wildcard tests/support/*.c tests/unit/support_*.c tests/contract/support_*.c))
FUZZ_SRC   := $(sort $(wildcard tests/fuzz/fuzz_*.c))
ALL_SRC    := $(COMMON_SRC) $(SERVER_SRC) $(CLIENT_SRC) $(WEB_SRC) $(SUPPORT_SRC) $(TEST_SRC) $(FUZZ_SRC)
ALL_HDR    := $(sort $(wildcard common/*/*.h server/*.h client/*.h client/*/*.h client/lib/include/*.h tests/*/*.h))
SHELL_SRC  := $(sort $(wildcard tests/support/*.sh tests/*/*.sh docs/packaging/*.sh .ci/run))

obj      = $(patsubst %.c,$(B)/%.o,$(1))
PROGRAMS := $(B)/parleyd $(B)/parley $(B)/parley-web
# Preloaded into parleyd by the fault tests, to write down what it does to files.
RECORDER := $(B)/tests/faults/record_io.so
TESTS    := $(patsubst %.c,$(B)/%,$(TEST_SRC))

# A test that includes a header of the server is linked with the server's objects, one that includes
# a header of the client with the client's: as archives, so only what it uses comes along.
SERVER_TESTS := $(if $(TEST_SRC),$(shell grep -l '^#include "server/' $(TEST_SRC)))
CLIENT_TESTS := $(if $(TEST_SRC),$(shell grep -l '^#include "client/' $(TEST_SRC)))
archives_of   = $(if $(filter %/$(1).c,$(SERVER_TESTS)),$(B)/libserver.a) \
                $(if $(filter %/$(1).c,$(CLIENT_TESTS)),$(B)/libweb.a $(B)/libclient.a)

# Test programs with threads (by their name): also built and run with ThreadSanitizer.
TSAN_TESTS := $(patsubst %.c,$(B)/%,$(filter %_threads.c,$(TEST_SRC)))

FUZZERS := $(patsubst %.c,$(B)/%,$(FUZZ_SRC))
FUZZ_SECONDS ?= 60

# --- building -------------------------------------------------------------------------------------

.DEFAULT_GOAL := all

OBJCOPY     ?= objcopy
LIBDIR      ?= $(PREFIX)/lib
LIB_VERSION := $(shell sed -n 's/^\#define PARLEY_VERSION "\(.*\)"/\1/p' common/base/version.h)
# Raised when a program compiled before would not run any more; see "ABI" in parley.h.
LIB_SONAME  := libparley.so.0

.PHONY: all
all: $(PROGRAMS) ## build parleyd, parley and parley-web (VARIANT=release|debug|asan|tsan)

.PHONY: tests
tests: $(TESTS) $(RECORDER) ## build the unit and contract test programs

$(B)/libcommon.a: $(call obj,$(COMMON_SRC))
	@rm -f $@
	@ar rcs $@ $^
$(B)/libserver.a: $(call obj,$(filter-out server/main.c,$(SERVER_SRC)))
	@rm -f $@
	@ar rcs $@ $^
$(B)/libclient.a: $(call obj,$(filter-out client/main.c,$(CLIENT_SRC)))
	@rm -f $@
	@ar rcs $@ $^
$(B)/libweb.a: $(call obj,$(filter-out client/web/main.c,$(WEB_SRC)))
	@rm -f $@
	@ar rcs $@ $^
# The library for programs of others. Its objects are compiled a second time, as position-independent code in which
# only what parley.h marks is visible; then they become one object, so that the static library too gives
# away no name but those.
PIC = $(patsubst %.c,$(B)/pic/%.o,$(LIB_SRC) $(COMMON_SRC))
$(PIC): $(B)/pic/%.o: %.c | $(NEED_LIBS)
	@mkdir -p $(@D)
	@echo "  cc    $< (library)"
	@$(CC) $(CFLAGS_ALL) -fPIC -fvisibility=hidden -c -o $@ $<
$(B)/pic/libcommon.a: $(filter $(B)/pic/common/%,$(PIC))
	@rm -f $@
	@ar rcs $@ $^
$(B)/pic/libparley.o: $(filter $(B)/pic/client/%,$(PIC)) $(B)/pic/libcommon.a
	@$(LD) -r -o $@.new $^ && $(OBJCOPY) --localize-hidden $@.new $@ && rm $@.new
$(B)/libparley.a: $(B)/pic/libparley.o
	@rm -f $@
	@ar rcs $@ $<
$(B)/libparley.so.$(LIB_VERSION): $(B)/pic/libparley.o client/lib/libparley.map
	@echo "  link  $@"
	@$(CC) $(LDFLAGS_ALL) -shared -Wl,-soname,$(LIB_SONAME) -Wl,--version-script=client/lib/libparley.map -Wl,-z,defs \
	    -o $@ $< $(COMMON_LIBS)
.PHONY: lib
lib: $(B)/libparley.a $(B)/libparley.so.$(LIB_VERSION) ## libparley.a and .so, for programs that include parley.h

$(B)/libsupport.a: $(call obj,$(SUPPORT_SRC))
	@rm -f $@
	@ar rcs $@ $^
# What --version says beyond the number. Linked into the programs only, so that a commit does not link every test
# anew; written anew only when it says something else.
GIT_DESCRIPTION := $(shell git describe --always --dirty --tags 2>/dev/null)
define BUILD_C
const char *build_git(void);
const char *build_variant(void);
const char *build_git(void) { return "$(GIT_DESCRIPTION)"; }
const char *build_variant(void) { return "$(VARIANT)"; }
endef
.PHONY: FORCE
$(B)/build.c: FORCE
	@mkdir -p $(@D)
	$(file >$@.new,$(BUILD_C))
	@cmp -s $@ $@.new && rm $@.new || mv $@.new $@
$(B)/build.o: $(B)/build.c
	@$(CC) $(CFLAGS_ALL) -c -o $@ $<

$(B)/parleyd: $(call obj,$(SERVER_SRC)) $(B)/build.o $(B)/libcommon.a
	@echo "  link  $@"
	@$(CC) $(LDFLAGS_ALL) -o $@ $^ $(SERVER_LIBS) $(COMMON_LIBS)
$(B)/parley: $(call obj,$(CLIENT_SRC)) $(B)/build.o $(B)/libcommon.a
	@echo "  link  $@"
	@$(CC) $(LDFLAGS_ALL) -o $@ $^ $(CLIENT_LIBS) $(COMMON_LIBS)
$(B)/parley-web: $(call obj,$(WEB_SRC)) $(B)/build.o $(B)/libclient.a $(B)/libcommon.a
	@echo "  link  $@"
	@$(CC) $(LDFLAGS_ALL) -o $@ $^ $(WEB_LIBS) $(CLIENT_LIBS) $(COMMON_LIBS)
# The files of the page are put into this one by the assembler, which the compiler's -MMD does not see.
$(B)/client/web/page.o: $(wildcard client/web/page/* client/web/vendor/*/*)
$(B)/%.o: %.c | $(NEED_LIBS)
	@mkdir -p $(@D)
	@echo "  cc    $<"
	@$(CC) $(CFLAGS_ALL) -c -o $@ $<

$(RECORDER): tests/faults/record_io.c
	@mkdir -p $(@D)
	@echo "  link  $@"
	@$(CC) $(CFLAGS_ALL) -fPIC -shared -o $@ $<

# One program per test source; $* is its path below tests/.
.SECONDEXPANSION:
$(TESTS): $(B)/tests/%: $(B)/tests/%.o $(B)/libsupport.a $$(call archives_of,$$(notdir $$*)) \
                        $(B)/libcommon.a
	@echo "  link  $@"
	@$(CC) $(LDFLAGS_ALL) -o $@ $^ $(TEST_LIBS) $(WEB_LIBS) $(SERVER_LIBS) $(CLIENT_LIBS) $(COMMON_LIBS)

# It starts one, and looks for it two folders up.
$(B)/tests/unit/test_localserver: | $(B)/parleyd

# libFuzzer brings main(). Client and server have functions of the same name: one of the two archives.
$(FUZZERS): $(B)/tests/fuzz/fuzz_%: $(B)/tests/fuzz/fuzz_%.o $(B)/libserver.a $(B)/libclient.a $(B)/libcommon.a
	@echo "  link  $@"
	@$(CC) $(LDFLAGS_ALL) -fsanitize=fuzzer -o $@ $< \
	    $(if $(filter client% chat%,$*),$(B)/libclient.a,$(B)/libserver.a) $(B)/libcommon.a \
	    $(SERVER_LIBS) $(CLIENT_LIBS) $(COMMON_LIBS)
.PHONY: fuzzers
fuzzers: $(FUZZERS)

.PHONY: need-libs
need-libs:
	@CC='$(CC)' tests/support/deps.sh --check build

# --- running and testing --------------------------------------------------------------------------
# A make without the flags of this one: it reads the makefile anew and may use all processors.
AGAIN = env -u MAKEFLAGS -u MFLAGS -u MAKELEVEL $(MAKE) --no-print-directory -j$(JOBS) $(MAKEOVERRIDES)
RUN_TESTS = $(PYTHON) tests/support/run-tests.py --make "$(AGAIN)" --build $(BUILD) --jobs $(JOBS)

.PHONY: demo
demo: ## install what is missing, build, and show every transport talking in one room
	@CC='$(CC)' tests/support/deps.sh build
	@$(AGAIN) all
	@BIN='$(B)' tests/support/demo.sh

.PHONY: check
check: ## install what is missing, then build and run every test
	@CC='$(CC)' tests/support/deps.sh build test
	@$(RUN_TESTS)

.PHONY: asan
asan: ## unit, contract and library tests with AddressSanitizer and UBSan
	@$(RUN_TESTS) asan

.PHONY: tsan
tsan: ## the tests of shared memory between threads with ThreadSanitizer
	@$(RUN_TESTS) tsan

.PHONY: faults
faults: ## long: kill -9 at every call, power cuts, full disks; see docs/reliability.md
	@CC='$(CC)' tests/support/deps.sh build test
	@PARLEY_FAULTS=long $(RUN_TESTS) build faults

.PHONY: fuzz
fuzz: ## feed every parser with nonsense, FUZZ_SECONDS (60) for each
	@CC='$(CC)' tests/support/deps.sh build test
	@$(AGAIN) VARIANT=fuzz CC=clang fuzzers
	@tests/fuzz/run.sh $(BUILD)/fuzz $(FUZZ_SECONDS) $(JOBS)

.PHONY: model
model: ## check every order of events of the rings and doorbells (spin)
	@CC='$(CC)' tests/support/deps.sh test
	@tests/model/run.sh $(BUILD)/model

.PHONY: bench
bench: ## measure everything, under 10 minutes: tables, JSON and charts in BUILD/bench
	@CC='$(CC)' tests/support/deps.sh build bench
	@$(AGAIN) all
	@BIN='$(B)' OUT='$(BUILD)/bench' tests/support/bench.sh

# What the runner asks for: one line per program, so that the lists above stay the only ones.
.PHONY: list-tests list-tsan
list-tests:
	@printf '%s\n' $(TESTS)
list-tsan:
	@printf '%s\n' $(TSAN_TESTS)
.PHONY: tsan-tests
tsan-tests: $(TSAN_TESTS)

# --- the source itself ----------------------------------------------------------------------------

.PHONY: layers
layers: ## fail on an #include against the arrows between folders
	@tests/support/layers.sh --self-test
	@tests/support/layers.sh

.PHONY: format
format: ## rewrite C sources in the project's format
	@CC='$(CC)' tests/support/deps.sh lint
	clang-format -i $(ALL_SRC) $(ALL_HDR)

.PHONY: lint
lint: ## clang-format, shellcheck, cppcheck and clang-tidy, all without a finding
	@CC='$(CC)' tests/support/deps.sh build test lint
	@BUILD='$(BUILD)' tests/support/lint.sh "$(CPPFLAGS_ALL)" $(ALL_SRC) $(ALL_HDR) $(SHELL_SRC)

.PHONY: compdb
compdb: ## write compile_commands.json for editors and tools
	$(file >compile_commands.json,$(compdb_text))
	@echo "compile_commands.json: $(words $(ALL_SRC)) files"

empty :=
space := $(empty) $(empty)
comma := ,
define newline


endef
compdb_line = {"directory":"$(CURDIR)","file":"$(1)","command":"$(CC) -std=c11 $(WARN) $(CPPFLAGS_ALL) -c $(1)"}
compdb_text = [$(subst }$(space){,}$(comma)$(newline){,$(foreach f,$(ALL_SRC),$(call compdb_line,$(f))))]

# --- installing -----------------------------------------------------------------------------------

# Man pages and example configurations, from docs/man and the programs' own tables (--table). Building and installing do
# without scdoc: then there are no man pages.
MAN_DIR   := $(B)/man
MAN_PAGES := $(patsubst docs/man/%.scd,$(MAN_DIR)/%,$(wildcard docs/man/*.scd))
EXAMPLES  := $(patsubst docs/packaging/%.in,$(MAN_DIR)/%,$(wildcard docs/packaging/*.conf.in))
HAVE_SCDOC = $(shell command -v scdoc)
EXPAND    := awk -f docs/man/expand.awk
INSTALL_SH = DESTDIR='$(DESTDIR)' PREFIX='$(PREFIX)' LIBDIR='$(LIBDIR)' LIB_REQUIRES='$(PC_COMMON)' docs/packaging/install.sh

$(MAN_DIR)/%.table: $(B)/%
	@mkdir -p $(@D)
	@$< --table >$@
# Which program a page is about: the name before its first dot.
.SECONDEXPANSION:
$(MAN_PAGES): $(MAN_DIR)/%: docs/man/%.scd docs/man/expand.awk $(MAN_DIR)/$$(firstword $$(subst ., ,$$*)).table
	@$(EXPAND) $(MAN_DIR)/$(firstword $(subst ., ,$*)).table $< >$@.scd && scdoc <$@.scd >$@.new && mv $@.new $@
$(EXAMPLES): $(MAN_DIR)/%: docs/packaging/%.in docs/man/expand.awk $(MAN_DIR)/$$(basename $$*).table
	@$(EXPAND) -v mode=conf $(MAN_DIR)/$(basename $*).table $< >$@

.PHONY: man man-pages
man: | $(filter all,$(MAKECMDGOALS)) ## build the man pages (needs scdoc) and example configurations
	@CC='$(CC)' tests/support/deps.sh build docs
	@$(AGAIN) man-pages
man-pages: $(MAN_PAGES) $(EXAMPLES)

.PHONY: install
install: all lib $(EXAMPLES) $(if $(HAVE_SCDOC),$(MAN_PAGES)) ## install below PREFIX (/usr/local), staged below DESTDIR
	@$(INSTALL_SH) install $(B) $(MAN_DIR)

.PHONY: uninstall
uninstall: ## remove what install put there
	@$(INSTALL_SH) uninstall $(B) $(MAN_DIR)

.PHONY: deb deb-package
deb: ## a Debian package in BUILD/deb
	@CC='$(CC)' tests/support/deps.sh build docs
	@$(AGAIN) deb-package
deb-package: all lib man-pages
	@LIB_REQUIRES='$(PC_COMMON)' docs/packaging/deb.sh $(B) $(MAN_DIR) $(BUILD)/deb $(LIB_VERSION)

.PHONY: deps
deps: ## install what building, testing and linting need
	@CC='$(CC)' tests/support/deps.sh build test lint

.PHONY: clean
clean: ## remove everything that was built
	rm -rf $(BUILD) compile_commands.json

.PHONY: help
help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  %-10s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))

# --- dependencies found by the compiler -----------------------------------------------------------

-include $(patsubst %.c,$(B)/%.d,$(ALL_SRC)) $(PIC:.o=.d)
.SECONDARY:
