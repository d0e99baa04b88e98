# parley: one non-recursive makefile. `make help` lists the targets.

VARIANT ?= release
B := build/$(VARIANT)
CC ?= gcc

CFLAGS_release := -O2 -g
CFLAGS_asan    := -O1 -g -fsanitize=address,undefined -fno-omit-frame-pointer
CFLAGS_tsan    := -O1 -g -fsanitize=thread
WARN := -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Werror
CFLAGS_ALL := -std=c11 -D_GNU_SOURCE $(WARN) $(CFLAGS_$(VARIANT)) -MMD -MP -Icommon -I. $(CFLAGS)
LDFLAGS_ALL := $(CFLAGS_$(VARIANT)) $(LDFLAGS)

COMMON_SRC := $(wildcard common/*/*.c)
SERVER_SRC := $(wildcard server/*.c)
CLIENT_SRC := $(wildcard client/*.c client/*/*.c)
COMMON_LIBS := -lisal -lutf8proc -lpthread
SERVER_LIBS := -luv -linih -lsodium
CLIENT_LIBS := -luv -lreadline -ljansson -linih

obj = $(patsubst %.c,$(B)/%.o,$(1))

all: $(B)/parleyd $(B)/parley

$(B)/libcommon.a: $(call obj,$(COMMON_SRC))
	rm -f $@ && ar rcs $@ $^
$(B)/parleyd: $(call obj,$(SERVER_SRC)) $(B)/libcommon.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(SERVER_LIBS) $(COMMON_LIBS)
$(B)/parley: $(call obj,$(CLIENT_SRC)) $(B)/libcommon.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ $(CLIENT_LIBS) $(COMMON_LIBS)
$(B)/%.o: %.c
	@mkdir -p $(@D)
	$(CC) $(CFLAGS_ALL) -c -o $@ $<

# one cmocka binary for each file in tests/unit and tests/contract
$(B)/tests/%: $(B)/tests/%.o $(B)/libcommon.a
	$(CC) $(LDFLAGS_ALL) -o $@ $^ -lcmocka $(COMMON_LIBS)

-include $(shell find $(B) -name '*.d' 2>/dev/null)
.PHONY: all
.SECONDARY:
