# The few commands a person types; Meson does the work. Each installs what it needs (tools/deps) and is quick the second time.
#
#   make build     build/weir and the library beside it
#   make demo      real events through kcat, SQL on them, kill -9 in the middle, the result checked
#   make check     every test: house rules, units, corpora, real clients, crashes
#   make bench     ratios against other programs in one run
#   make fuzz      each fuzz target for FUZZ_SECONDS (60)
#   make fmt       clang-format over the C sources
#   make install   into PREFIX (/usr/local), below DESTDIR

BUILD ?= build
FUZZ_SECONDS ?= 60
PREFIX ?= /usr/local
# Options for the first setup of a build directory, e.g. SETUP='-Db_sanitize=address,undefined'.
SETUP ?=
TESTS ?=

.PHONY: build demo check bench fuzz fmt install clean

build: $(BUILD)/build.ninja
	@ninja -C $(BUILD) program >$(BUILD)/build.log 2>&1 || { grep -vE '^\[|^ninja: Entering' $(BUILD)/build.log; exit 1; }

demo: build
	@tools/deps demo
	@examples/demo/run --weir $(BUILD)/weir

check: $(BUILD)/build.ninja
	@tools/deps check clients demo
	@tools/check --build $(BUILD) $(TESTS)

bench: build
	@tools/deps bench
	@ninja --quiet -C $(BUILD) bench-programs >/dev/null
	@bench/run --build $(BUILD)

fuzz:
	@tools/deps build check
	@tools/fuzz --seconds $(FUZZ_SECONDS)

fmt:
	@tools/deps check
	@git ls-files '*.c' '*.h' | xargs clang-format -i

install: build
	@meson configure $(BUILD) --prefix $(PREFIX)
	@meson install -C $(BUILD) --no-rebuild --quiet

clean:
	@rm -rf build build-*

$(BUILD)/build.ninja:
	@tools/deps build
	@meson setup $(SETUP) $(BUILD) . >$(BUILD).log 2>&1 || { cat $(BUILD).log; rm -f $(BUILD).log; exit 1; }
	@rm -f $(BUILD).log
