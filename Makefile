# homeward: one file, no recursion.  `make help` lists the targets.
#
# Each folder becomes a library, build/VARIANT/lib<folder>.a, and a unit test
# links only the libraries its folder may depend on; so a wrong dependency fails
# twice, in `make lint` and at the linker.  A new .c file needs no edit here.
# Variants (release, debug, asan, tsan, clang) live side by side under build/.

VARIANT  ?= release
FOLDERS  := base policy router handlers federation locator cli
OUT      := build/$(VARIANT)

CC       := gcc
WARNINGS := -std=c11 -D_GNU_SOURCE -Wall -Wextra -Wshadow -Wmissing-prototypes -Wstrict-prototypes \
	-Wcast-qual -Wvla -Wpointer-arith -Wwrite-strings -Werror
HARDEN   := -fstack-protector-strong -fPIE
PACKAGES := libmicrohttpd jansson libpq libcurl openssl libuv gnutls libxxhash smartcols librabbitmq
REVISION := $(shell git rev-parse --short=12 HEAD 2>/dev/null || echo unknown)
VERSION  := 0.1.0

FLAGS_release := -O2 -g -D_FORTIFY_SOURCE=2
FLAGS_debug   := -O0 -g3
FLAGS_asan    := -O1 -g -fsanitize=address,undefined -fno-sanitize-recover=all -fno-omit-frame-pointer
FLAGS_tsan    := -O1 -g -fsanitize=thread -fno-omit-frame-pointer
FLAGS_clang   := -O1 -g
FLAGS_fuzz    := -O1 -g -fsanitize=address,undefined,fuzzer-no-link -fno-sanitize-recover=all
ifneq ($(filter clang fuzz tsan,$(VARIANT)),)
CC := clang
endif

CFLAGS  = $(WARNINGS) $(HARDEN) $(FLAGS_$(VARIANT)) -I. -I$(OUT)/generated \
	-DHOMEWARD_VERSION='"$(VERSION)"' $(shell pkg-config --cflags $(PACKAGES) 2>/dev/null)
LDFLAGS = $(FLAGS_$(VARIANT)) -pie -Wl,-z,relro,-z,now
LDLIBS  = $(shell pkg-config --libs $(PACKAGES) 2>/dev/null) -lpthread -lm

# Which libraries a folder may lean on, in link order: the table of docs/ARCHITECTURE.md.
USES_base       := base
USES_policy     := policy base
USES_router     := router policy base
USES_handlers   := handlers policy base
USES_federation := federation policy base
USES_locator    := locator handlers router policy base
USES_cli        := cli router federation policy base
USES_main       := cli locator handlers router federation policy base

# One short line a step; V=1 shows the commands themselves.
ifeq ($(V),1)
SHOW :=
else
SHOW = @printf '  %-4s %s\n' $(1) $(2);
endif

sources = $(wildcard $(1)/*.c)
objects = $(patsubst %.c,$(OUT)/%.o,$(1))
MAIN    := $(call objects,$(wildcard *.c))

.PHONY: all objects fuzzers deps clients demo test check unit scenarios asan tsan fuzz loss-matrix kill-rounds bench bench-quick bench-audit bench-events bench-invalidation lint format install clean help
.DEFAULT_GOAL := all

all: deps $(OUT)/homeward ## build the program: build/release/homeward (VARIANT=debug|asan|tsan|clang for others)

# ---- the program ----

$(OUT)/homeward: $(MAIN) $(foreach folder,$(USES_main),$(OUT)/lib$(folder).a)
	$(call SHOW,link,$@) $(CC) $(LDFLAGS) -o $@ $(MAIN) $(foreach folder,$(USES_main),$(OUT)/lib$(folder).a) $(LDLIBS)

define folder_library
OBJECTS_$(1) := $$(call objects,$$(call sources,$(1)))
ifeq ($(1),base)
OBJECTS_$(1) += $(OUT)/generated/migrations.o
endif
ifeq ($(1),federation)
OBJECTS_$(1) += $(OUT)/generated/schemas.o
endif
ifeq ($(1),locator)
OBJECTS_$(1) += $(OUT)/generated/openapi.o
endif
$(OUT)/lib$(1).a: $$(OBJECTS_$(1))
	@mkdir -p $$(@D) && rm -f $$@
	$$(call SHOW,ar,$$@) ar rcs $$@ $$(OBJECTS_$(1))
endef
$(foreach folder,$(FOLDERS),$(eval $(call folder_library,$(folder))))

$(OUT)/%.o: %.c | deps
	@mkdir -p $(@D)
	$(call SHOW,cc,$<) $(CC) $(CFLAGS) -MMD -MP -c -o $@ $<

$(OUT)/generated/%.o: $(OUT)/generated/%.c | deps
	$(call SHOW,cc,$<) $(CC) $(CFLAGS) -c -o $@ $<

# Files carried inside the program.
$(OUT)/generated/migrations.c: base/embed.sh $(wildcard base/migrations/*.sql)
	@mkdir -p $(@D)
	$(call SHOW,gen,$@) sh base/embed.sh migrations $(sort $(wildcard base/migrations/*.sql)) > $@

SCHEMAS := $(sort $(filter-out %/published.json,$(wildcard schemas/*.json)))
$(OUT)/generated/schemas.c: base/embed.sh $(SCHEMAS)
	@mkdir -p $(@D)
	$(call SHOW,gen,$@) sh base/embed.sh schemas $(SCHEMAS) > $@

$(OUT)/generated/openapi.json: docs/openapi.yaml | deps
	@mkdir -p $(@D)
	$(call SHOW,gen,$@) /usr/bin/python3 -c 'import json,sys,yaml; json.dump(yaml.safe_load(open(sys.argv[1])), sys.stdout, default=str)' $< > $@

$(OUT)/generated/openapi.c: base/embed.sh $(OUT)/generated/openapi.json
	$(call SHOW,gen,$@) sh base/embed.sh openapi $(OUT)/generated/openapi.json > $@

# ---- unit tests: tests/unit/<folder>/test_*.c, one program each ----

UNIT_TESTS := $(foreach folder,$(FOLDERS),$(patsubst %.c,$(OUT)/%,$(wildcard tests/unit/$(folder)/test_*.c)))
SUPPORT    := $(call objects,$(wildcard tests/unit/support/*.c))

define unit_test_rule
$(OUT)/tests/unit/$(1)/test_%: $(OUT)/tests/unit/$(1)/test_%.o $(SUPPORT) $(foreach used,$(USES_$(1)),$(OUT)/lib$(used).a)
	$$(call SHOW,link,$$@) $$(CC) $$(LDFLAGS) -o $$@ $$< $(SUPPORT) $(foreach used,$(USES_$(1)),$(OUT)/lib$(used).a) $$(LDLIBS) -lcmocka
endef
$(foreach folder,$(FOLDERS),$(eval $(call unit_test_rule,$(folder))))
.PRECIOUS: $(OUT)/tests/%.o # made on the way to a program, and kept

# Run out of memory at each place in turn: see tests/unit/support/failing_allocator.h.
$(OUT)/tests/unit/%/test_no_memory: LDFLAGS += -Wl,--wrap=malloc,--wrap=calloc,--wrap=realloc,--wrap=strdup
# What is freed is looked at.
$(OUT)/tests/unit/base/test_strbuf: LDFLAGS += -Wl,--wrap=free

unit: deps $(UNIT_TESTS)
	@sh tests/run_unit.sh $(UNIT_TESTS)

# ---- fuzzers: tests/fuzz/fuzz_*.c, one program each, only with VARIANT=fuzz ----

$(OUT)/tests/fuzz/fuzz_%: $(OUT)/tests/fuzz/fuzz_%.o $(foreach folder,$(USES_main),$(OUT)/lib$(folder).a)
	$(call SHOW,link,$@) $(CC) $(LDFLAGS) -fsanitize=fuzzer -o $@ $< $(foreach folder,$(USES_main),$(OUT)/lib$(folder).a) $(LDLIBS)

fuzzers: $(patsubst %.c,$(OUT)/%,$(wildcard tests/fuzz/fuzz_*.c))

# ---- what people run ----

# Building and running needs a third of what testing needs.
deps: ## install the Debian packages that are missing
	@sh tests/deps.sh $(if $(filter-out all demo install,$(MAKECMDGOALS))$(filter-out release debug,$(VARIANT)),,$(if \
		$(filter demo,$(MAKECMDGOALS)),demo,build))

check: deps ## unit tests and lint, side by side: the fast loop of who changes something
	@$(MAKE) -s -j2 -o deps --output-sync=target --no-print-directory unit lint

scenarios: deps $(OUT)/homeward ## whole regions with real PostgreSQL and real certificates
	@HOMEWARD=$(abspath $(OUT)/homeward) HOMEWARD_TEST_SCRATCH=$$(sh tests/scratch.sh 6000000) \
		/usr/bin/python3 -m pytest -q -n 3 --dist loadfile --durations=12 tests/scenarios $(PYTEST)

test: ## everything, as CI runs it
	@bash tests/run_all.sh

demo: deps ## three regions and a roaming driver's story (DATA=folder adds real sites and sessions)
	@$(MAKE) -s -j$(shell nproc) -o deps --no-print-directory $(OUT)/homeward
	@HOMEWARD=$(abspath $(OUT)/homeward) bash tests/demo.sh

clients: ## typed event libraries from schemas/ for five languages, tried over the golden examples (needs npm's network once)
	@sh tests/deps.sh clients
	@bash tests/clients/run.sh

asan: ## unit tests and a scenario subset under AddressSanitizer and UBSan
	@sh tests/run_sanitized.sh asan

tsan: ## the same under ThreadSanitizer
	@sh tests/run_sanitized.sh tsan

fuzz: ## a minute of libFuzzer for each parser
	@sh tests/fuzz/run.sh

loss-matrix: deps $(OUT)/homeward ## events under every fault, three quarters of an hour; writes docs/RELIABILITY.md (RATE, SECONDS_EACH, PARTITION, ONLY)
	@HOMEWARD=$(abspath $(OUT)/homeward) /usr/bin/python3 tests/loss_matrix.py

kill-rounds: deps $(OUT)/homeward ## kill -9 under load, five minutes; writes docs/RELIABILITY.md (ROUNDS, SEED)
	@HOMEWARD=$(abspath $(OUT)/homeward) /usr/bin/python3 tests/scenarios/kill_rounds.py

bench: bench-quick bench-audit bench-events bench-invalidation ## every benchmark

bench-quick: deps $(OUT)/homeward ## against nginx in the same run, under a minute
	@HOMEWARD=$(abspath $(OUT)/homeward) /usr/bin/python3 tests/bench/quick.py

bench-events: deps $(OUT)/homeward ## events across two regions beside a plain federated link (EVENTS=N)
	@HOMEWARD=$(abspath $(OUT)/homeward) /usr/bin/python3 tests/bench/events.py

bench-invalidation: deps $(OUT)/homeward ## from a change at home to the last other region's cache (RATE, SECONDS_EACH, CARDS)
	@HOMEWARD=$(abspath $(OUT)/homeward) /usr/bin/python3 tests/bench/invalidation.py

bench-audit: deps $(OUT)/homeward ## lookups with the access log closed against the same with it off (ROUNDS, SECONDS_EACH, CONNECTIONS, PAUSE, ONLY)
	@HOMEWARD=$(abspath $(OUT)/homeward) /usr/bin/python3 tests/bench/audit.py

# Everything compiled, nothing linked: what lint asks of clang.
objects: $(MAIN) $(foreach folder,$(FOLDERS),$(OBJECTS_$(folder))) $(SUPPORT) \
	$(call objects,$(wildcard tests/unit/*/test_*.c tests/fuzz/*.c))

lint: deps ## layers, format, banned calls, file and function length, cppcheck, shellcheck, gcc and clang
	@sh tests/lint/run.sh

format: ## clang-format in place
	clang-format -i $(wildcard *.[ch]) $(foreach folder,$(FOLDERS),$(wildcard $(folder)/*.[ch])) $(wildcard tests/unit/*/*.[ch] tests/fuzz/*.c)

PREFIX ?= /usr/local
install: $(OUT)/homeward ## program, manual, examples and systemd unit into PREFIX (/usr/local)
	install -D -m 0755 $(OUT)/homeward $(DESTDIR)$(PREFIX)/bin/homeward
	install -d $(DESTDIR)$(PREFIX)/share/doc/homeward $(DESTDIR)$(PREFIX)/lib/systemd/system
	install -m 0644 LICENSE README.md docs/OPERATIONS.md docs/CONFIGURATION.md docs/POLICY.md docs/API.md docs/openapi.yaml \
		docs/homeward.example.conf docs/policy.example.json $(DESTDIR)$(PREFIX)/share/doc/homeward
	sed 's,@PREFIX@,$(PREFIX),' docs/homeward.service > $(DESTDIR)$(PREFIX)/lib/systemd/system/homeward.service

clean: ## remove build/
	rm -rf build

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## /{printf "  make %-12s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

-include $(shell find $(OUT) -name '*.d' 2>/dev/null)
