# imgproxy-gateway. `make run` starts the whole stack, `make test` runs every test; `make help` lists the rest.
# One plain Makefile: each room of spoa/ is a library, found by its files; a program is a folder with a main.c.

SHELL := /bin/bash
.DEFAULT_GOAL := build
MAKEFLAGS += --no-builtin-rules

VERSION := 0.1.0
SANITIZE ?=
COVERAGE ?=

# A build with sanitizers or coverage has its own folder, so that kinds of builds never mix.
comma := ,
variant := $(subst $(comma),-,$(SANITIZE))$(if $(COVERAGE),coverage)
O ?= build$(if $(variant),/$(variant))
BIN := $(if $(variant),$(O)/bin,bin)

CC := gcc
PKG_CONFIG ?= pkg-config
pkg = $(shell $(PKG_CONFIG) $(1) $(2) 2>/dev/null)

WARN := -Wall -Wextra -Werror -Wmissing-prototypes -Wstrict-prototypes -Wshadow -Wwrite-strings -Wcast-qual -Wvla \
	-Wformat=2 -Wundef -Wpointer-arith
HARDEN := -fstack-protector-strong -fstack-clash-protection -fcf-protection -fPIE $(if $(variant),,-D_FORTIFY_SOURCE=2)
CPPFLAGS := -D_GNU_SOURCE -DGATEWAY_VERSION='"$(VERSION)"' -Ispoa
CFLAGS := -std=c11 -O2 -g -fno-omit-frame-pointer $(WARN) $(HARDEN)
LDFLAGS := -pie -Wl,-z,relro,-z,now -Wl,--as-needed
ifneq ($(SANITIZE),)
# The sanitizers hide from gcc what bounds a string: its guesses about snprintf() are wrong there.
CFLAGS += -fsanitize=$(SANITIZE) -fno-sanitize-recover=all -O1 -Wno-format-truncation
LDFLAGS += -fsanitize=$(SANITIZE)
endif
ifneq ($(COVERAGE),)
CFLAGS += --coverage -O0
LDFLAGS += --coverage
endif

# The rooms, lowest first: a room may use those before it in `uses_ROOM` only (checked by tests/lint/includes.sh).
ROOMS := base spop imgurl policy usage io store
PROGRAMS := agent api cli
uses_base :=
uses_spop := base
uses_imgurl := base
uses_policy := base
uses_usage := base
uses_io := base
uses_store := io usage policy base
uses_agent := store io usage policy imgurl spop base
uses_api := store io usage policy imgurl base
uses_cli := store io usage policy imgurl base

# TLS to Redis needs hiredis 1.0 with its second library, which Debian 12 does not have (spoa/io/redis_tls.h).
redis_tls := $(call pkg,--libs,hiredis_ssl)
CPPFLAGS += $(if $(redis_tls),-DGATEWAY_REDIS_TLS)

libs_base := $(call pkg,--libs,yaml-0.1) -lcrypto
libs_spop :=
libs_imgurl := -lcrypto
libs_policy := -lcrypto -lz
libs_usage := -lcrypto -lz
libs_io := -lev -lpq $(if $(redis_tls),$(redis_tls) -lssl -lcrypto,-lhiredis) -lmicrohttpd -lpthread
libs_store := -llmdb -ljansson -lcrypto
libs_agent :=
libs_api := -lmicrohttpd -ljansson -lcrypto -lpthread
libs_cli := -ljansson -lcrypto

cppflags_io := -I$(shell pg_config --includedir 2>/dev/null || echo /usr/include/postgresql)

program_agent := gateway-agent
program_api := gateway-api
program_cli := gatewayctl

all_rooms := $(ROOMS) $(PROGRAMS)
archive = $(foreach r,$(1),$(O)/lib$(r).a)
link_libs = $(foreach r,$(1),$(libs_$(r)))
objects_of = $(patsubst %.c,$(O)/%.o,$(filter-out %/main.c,$(wildcard spoa/$(1)/*.c)))

binaries := $(foreach p,$(PROGRAMS),$(if $(wildcard spoa/$(p)/main.c),$(BIN)/$(program_$(p))))
standin := $(if $(wildcard tests/standin/main.c),$(O)/tests/imgproxy-standin)
pacer := $(O)/tests/pacer
skew := $(O)/tests/skew.so
live := $(O)/tests/leases-live $(O)/tests/ship-live

.PHONY: help
help: ## list the targets
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F':.*## ' '{printf "  make %-18s %s\n", $$1, $$2}'

.PHONY: setup
setup: ## install the Debian packages that building, running and testing need (root or sudo)
	compose/local/setup.sh run test

.PHONY: build
build: $(binaries) $(standin) ## compile the programs into bin/

# ---- libraries and programs ------------------------------------------------------------------------------------------

define room_rules
$(O)/lib$(1).a: $$(call objects_of,$(1))
	@rm -f $$@
	@ar rcs $$@ $$^
endef
$(foreach r,$(all_rooms),$(eval $(call room_rules,$(r))))

define program_rules
$(BIN)/$(program_$(1)): $(O)/spoa/$(1)/main.o $(call archive,$(1) $(uses_$(1)))
	@mkdir -p $$(@D)
	@echo "  LD      $$@"
	@$(CC) $(CFLAGS) $(LDFLAGS) -o $$@ $(O)/spoa/$(1)/main.o -Wl,--start-group $(call archive,$(1) $(uses_$(1))) -Wl,--end-group $(call link_libs,$(1) $(uses_$(1)))
endef
$(foreach p,$(PROGRAMS),$(eval $(call program_rules,$(p))))

$(O)/spoa/%.o: spoa/%.c $(O)/flags
	@mkdir -p $(@D)
	@echo "  CC      $<"
	@$(CC) $(CPPFLAGS) $(cppflags_$(word 2,$(subst /, ,$<))) $(CFLAGS) -MMD -MP -c -o $@ $<

# Rebuilds everything when the flags change.
$(O)/flags: FORCE
	@mkdir -p $(O)
	@printf '%s\n' '$(subst ','\'',$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS))' | cmp -s - $@ || printf '%s\n' '$(subst ','\'',$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS))' > $@
FORCE:

$(O)/tests/imgproxy-standin: $(wildcard tests/standin/*.c tests/standin/*.h) $(O)/flags
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) -D_GNU_SOURCE $(call pkg,--cflags,vips) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.c,$^) $(call pkg,--libs,vips) -lmicrohttpd -lcurl -lcrypto -lpthread -lm

$(pacer): $(wildcard tests/load/pacer/*.c tests/load/pacer/*.h) $(O)/flags
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) -D_GNU_SOURCE $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.c,$^)

# Never with sanitizers: they start later than a library that is loaded before them.
$(skew): tests/load/skew/skew.c $(O)/flags
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) -D_GNU_SOURCE -std=c11 -O2 $(WARN) -shared -fPIC -o $@ $<

# The programs of `make bench`: an agent that decides nothing, the load, a load of usage lines, image URLs alone, and a
# load of uploads.
bench_programs := $(O)/bench/floor-agent $(O)/bench/load $(O)/bench/usage-load $(O)/bench/imgurl-bench $(O)/bench/upload-load
bench_rooms := spop base
$(O)/bench/floor-agent: tests/bench/floor_agent.c $(call archive,$(bench_rooms)) $(O)/flags
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -MMD -MP -MF $@.d -o $@ $< $(call archive,$(bench_rooms))

$(O)/bench/load: tests/bench/load.c $(O)/flags
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $<

$(O)/bench/usage-load: tests/bench/usage_load.c $(O)/flags
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $<

$(O)/bench/imgurl-bench: tests/bench/imgurl_bench.c $(call archive,imgurl $(uses_imgurl)) $(O)/flags
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -MMD -MP -MF $@.d -o $@ $< $(call archive,imgurl $(uses_imgurl)) $(libs_imgurl)

$(O)/bench/upload-load: tests/bench/upload_load.c $(O)/flags
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $< -lpthread

# ---- unit tests: one program a test file, linked with its own room and those below it alone ---------------------------

unit_sources := $(foreach r,$(all_rooms),$(wildcard tests/unit/$(r)/test_*.c))
unit_programs := $(patsubst tests/unit/%.c,$(O)/unit/%,$(unit_sources))
fuzz_names := $(patsubst tests/fuzz/fuzz_%.c,%,$(wildcard tests/fuzz/fuzz_*.c))
replay_programs := $(patsubst %,$(O)/fuzz/replay_%,$(fuzz_names))

.SECONDEXPANSION:
$(O)/unit/%: tests/unit/%.c $$(call archive,$$(firstword $$(subst /, ,$$*)) $$(uses_$$(firstword $$(subst /, ,$$*)))) $(O)/flags
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(CPPFLAGS) $(cppflags_$(firstword $(subst /, ,$*))) -Itests/unit -DTEST_DATA='"tests/unit/data"' $(CFLAGS) $(LDFLAGS) \
		$(shell sed -n 's/^\/\* LDFLAGS: \(.*\) \*\/$$/\1/p' $<) -MMD -MP -MF $@.d -o $@ $< \
		-Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call link_libs,$(firstword $(subst /, ,$*)) $(uses_$(firstword $(subst /, ,$*)))) -lcmocka

# A fuzz target names its room in its first line: /* ROOM: spop */
fuzz_room = $(shell sed -n 's/^\/\* ROOM: \([a-z]*\) \*\/$$/\1/p' tests/fuzz/fuzz_$(1).c)
$(O)/fuzz/replay_%: tests/fuzz/fuzz_%.c tests/fuzz/replay_main.c $$(call archive,$$(call fuzz_room,$$*) $$(uses_$$(call fuzz_room,$$*))) $(O)/flags
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(CPPFLAGS) $(CFLAGS) $(LDFLAGS) -o $@ $(filter %.c,$^) -Wl,--start-group $(filter %.a,$^) -Wl,--end-group $(call link_libs,$(call fuzz_room,$*) $(uses_$(call fuzz_room,$*)))

.PHONY: test-unit
test-unit: $(unit_programs) $(replay_programs) ## unit tests and the replay of the fuzz corpora; no server needed
	@tests/run-unit.sh $(O) $(unit_programs) -- $(replay_programs)

# clang-built fuzzers; FUZZ_TIME is in seconds for each target.
FUZZ_TIME ?= 60
fuzz_programs := $(patsubst %,$(O)/libfuzzer/%,$(fuzz_names))
$(O)/libfuzzer/%: tests/fuzz/fuzz_%.c $(wildcard spoa/*/*.c spoa/*/*.h)
	@mkdir -p $(@D)
	clang $(CPPFLAGS) $(cppflags_io) -std=c11 -O1 -g -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all -o $@ $< \
		$(filter-out %/main.c,$(foreach r,$(call fuzz_room,$*) $(uses_$(call fuzz_room,$*)),$(wildcard spoa/$(r)/*.c))) \
		$(call link_libs,$(call fuzz_room,$*) $(uses_$(call fuzz_room,$*)))

.PHONY: fuzz
fuzz: $(fuzz_programs) ## run every fuzz target under ASan and UBSan for FUZZ_TIME seconds each
	@for name in $(fuzz_names); do \
		mkdir -p $(O)/fuzz-work/$$name && echo "== $$name" && \
		$(O)/libfuzzer/$$name -max_total_time=$(FUZZ_TIME) -print_final_stats=1 -artifact_prefix=$(O)/fuzz-work/$$name. \
			$(O)/fuzz-work/$$name tests/fuzz/corpus/$$name || exit 1; \
	done

# ---- everything that runs servers ------------------------------------------------------------------------------------

export GATEWAY_BIN_DIR := $(abspath $(BIN))
export GATEWAY_STANDIN := $(abspath $(O)/tests/imgproxy-standin)
export GATEWAY_PACER := $(abspath $(pacer))
export GATEWAY_SKEW := $(abspath $(skew))
export GATEWAY_BENCH_DIR := $(abspath $(O)/bench)

# tests/leases-live from tests/integration/leases_live.c, and so on.
$(live): $(O)/tests/%-live: tests/integration/%_live.c $(call archive,store $(uses_store)) $(O)/flags
	@mkdir -p $(@D)
	@echo "  LD      $@"
	@$(CC) $(CPPFLAGS) -Itests/unit $(CFLAGS) $(LDFLAGS) -o $@ $< -Wl,--start-group $(filter %.a,$^) -Wl,--end-group \
		$(call link_libs,store $(uses_store)) -lcmocka

PYTEST_ARGS ?=
.PHONY: test-integration
test-integration: build $(pacer) $(skew) $(bench_programs) $(live) ## real HAProxy, PostgreSQL, Redis and the programs, on ports and folders of their own
	@/usr/bin/python3 -m pytest -q -p no:cacheprovider tests/integration $(PYTEST_ARGS)

# ROWS=verdict, latency, size, change, scrape, usage, imgurl or upload (or several of them): these alone.
ROWS ?=
.PHONY: bench
bench: ## the numbers of docs/bench.md, printed and in var/bench.json; ROWS=verdict for one group
	@compose/local/setup.sh run test bench
	@$(MAKE) --no-print-directory build $(bench_programs)
	@PYTHONPATH=tests/bench /usr/bin/python3 -B -m gwbench $(ROWS)

# LOAD_TIME seconds and LOAD_USERS users; a stack of its own.
.PHONY: load
load: ## Locust for a minute on a stack of its own: uploads, resizes, refusals; docs/load.md
	@compose/local/setup.sh run load
	@$(MAKE) --no-print-directory build
	@/usr/bin/python3 -B tests/load/run.py

.PHONY: test
test: ## every test; installs what it needs first
	@tests/run-all.sh

.PHONY: run up down status
run: ## the whole stack in the foreground; Ctrl-C ends it
	@compose/local/stack run
up: ## the whole stack in the background
	@compose/local/stack up
down: ## end what `make up` started
	@compose/local/stack down
status: ## what of the stack runs, and where
	@compose/local/stack status

.PHONY: migrate
migrate: $(BIN)/gatewayctl ## bring the schema of the configured database up to date
	@$(BIN)/gatewayctl migrate up

# ---- installation: a packager's `make install DESTDIR=… prefix=/usr`, or an operator's into /usr/local ------------------

prefix ?= /usr/local
bindir ?= $(prefix)/bin
datadir ?= $(prefix)/share
sysconfdir ?= /etc
docdir ?= $(datadir)/doc/imgproxy-gateway
unitdir ?= $(prefix)/lib/systemd/system
sysusersdir ?= $(prefix)/lib/sysusers.d
pkgdatadir := $(datadir)/imgproxy-gateway
pkgconfdir := $(sysconfdir)/imgproxy-gateway
INSTALL := install

units := $(wildcard compose/systemd/*.service compose/systemd/*.socket)
drop_in := haproxy.service.d/imgproxy-gateway.conf
# The files in compose/systemd name the places of prefix=/usr.
at_prefix = sed -e 's|/usr/bin/gate|$(bindir)/gate|g' -e 's|/usr/share/doc/imgproxy-gateway|$(docdir)|g' \
	-e 's|/usr/share/imgproxy-gateway|$(pkgdatadir)|g' -e 's|/etc/imgproxy-gateway|$(pkgconfdir)|g'
# $(call install_tree,FOLDER,TARGET): all files below a folder, readable by all.
install_tree = cd $(1) && find . -type f ! -name '.*' -exec $(INSTALL) -D -m 644 {} $(2)/{} \;
# $(call install_made,FILE,TARGET): with the names of this prefix in it.
install_made = $(INSTALL) -D -m 644 /dev/null $(2) && $(at_prefix) $(1) > $(2)

.PHONY: install
install: $(binaries) ## install programs, configuration, units and docs; DESTDIR= and prefix= as usual
	@$(INSTALL) -d $(DESTDIR)$(bindir) $(DESTDIR)$(pkgconfdir)
	@$(INSTALL) -m 755 $(binaries) $(DESTDIR)$(bindir)
	@$(call install_tree,migrations,$(abspath $(DESTDIR)/)$(pkgdatadir)/migrations)
	@$(call install_tree,configs,$(abspath $(DESTDIR)/)$(pkgdatadir)/configs)
	@$(INSTALL) -D -m 644 -t $(DESTDIR)$(pkgdatadir)/haproxy haproxy/haproxy.cfg haproxy/spoe.conf
	@$(call install_tree,docs,$(abspath $(DESTDIR)/)$(docdir))
	@$(INSTALL) -m 644 README.md CHANGELOG.md LICENSE $(DESTDIR)$(docdir)
	@$(INSTALL) -m 644 haproxy/README.md $(DESTDIR)$(docdir)/haproxy.md
	@$(INSTALL) -D -m 644 -t $(DESTDIR)$(docdir)/examples compose/systemd/tokens.env compose/systemd/secrets.env
	@$(INSTALL) -m 644 .env.example $(DESTDIR)$(docdir)/examples/env.example
	@$(foreach unit,$(units),$(call install_made,$(unit),$(DESTDIR)$(unitdir)/$(notdir $(unit))) &&) \
		$(call install_made,compose/systemd/$(drop_in),$(DESTDIR)$(unitdir)/$(drop_in))
	@$(INSTALL) -D -m 644 compose/systemd/sysusers.conf $(DESTDIR)$(sysusersdir)/imgproxy-gateway.conf
	@# What an operator has changed stays.
	@[ -e $(DESTDIR)$(pkgconfdir)/config.yaml ] || $(INSTALL) -m 644 configs/config.prod.yaml $(DESTDIR)$(pkgconfdir)/config.yaml
	@[ -e $(DESTDIR)$(pkgconfdir)/haproxy.env ] || { $(call install_made,compose/systemd/haproxy.env,$(DESTDIR)$(pkgconfdir)/haproxy.env); }

.PHONY: uninstall
uninstall: ## remove what `make install` with the same prefix brought; settings and state stay
	rm -f $(addprefix $(DESTDIR)$(bindir)/,$(notdir $(binaries))) $(addprefix $(DESTDIR)$(unitdir)/,$(notdir $(units)) $(drop_in)) \
		$(DESTDIR)$(sysusersdir)/imgproxy-gateway.conf
	rm -rf $(DESTDIR)$(pkgdatadir) $(DESTDIR)$(docdir)

.PHONY: docker-build docker-up docker-down
docker-build: ## the images of the three programs
	@compose/containers.sh build
docker-up: ## the whole stack in containers; makes compose/.env and compose/secrets/ the first time
	@compose/containers.sh up
docker-down: ## end it; its volumes stay
	@compose/containers.sh down

.PHONY: test-containers
test-containers: ## the stack in containers, on an engine of its own (root); nothing that runs here is touched
	@tests/containers/run.sh

.PHONY: lint
lint: ## clang-format, clang-tidy, cppcheck, shellcheck, the include table, file lengths
	@tests/lint/run.sh

.PHONY: docs
docs: ## the table of docs/metrics.md and .env.example, from the tables of the code
	@/usr/bin/python3 -B tests/lint/metrics_doc.py write
	@/usr/bin/python3 -B tests/lint/env_example.py write

.PHONY: coverage
coverage: ## line coverage of the unit and integration tests, in build/coverage/html
	@compose/local/setup.sh run test lint
	@$(MAKE) COVERAGE=1 build test-unit
	@chmod -R a+rwX build/coverage
	@$(MAKE) COVERAGE=1 test-integration
	@lcov -q -c -d build/coverage/spoa -o build/coverage/all.info
	@genhtml -q -o build/coverage/html build/coverage/all.info && lcov --summary build/coverage/all.info

.PHONY: clean
clean: ## remove what was built; var/ (the stack's state) stays
	rm -rf build bin

-include $(foreach r,$(all_rooms),$(wildcard $(O)/spoa/$(r)/*.d)) $(wildcard $(O)/unit/*/*.d) $(wildcard $(O)/bench/*.d)
