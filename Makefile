# Two commands do all the set-up on a fresh Debian machine with a Rust toolchain:
# `make demo` shows the main job live, `make test` runs everything that decides a release.

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
BIN = target/release/sersync-supervisor

.PHONY: all demo test install deps test-deps

all: $(BIN)

$(BIN): deps FORCE
	$(CARGO) build --release --locked

FORCE:

# rsync is what the product runs; it is also what the tests compare with.
deps:
	@command -v rsync >/dev/null || { apt-get update -q && apt-get install -y -q rsync; }

# The tests mirror over ssh to an sshd of their own.
test-deps: deps
	@[ -x /usr/sbin/sshd ] || { apt-get update -q && apt-get install -y -q openssh-server openssh-client; }

demo: $(BIN)
	$(BIN) demo

test: test-deps
	$(CARGO) test --workspace --locked

install: $(BIN)
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/sbin/sersync-supervisor
	install -d $(DESTDIR)$(PREFIX)/bin
	ln -sf ../sbin/sersync-supervisor $(DESTDIR)$(PREFIX)/bin/sersync2
	[ -e $(DESTDIR)/etc/sersync/confxml.xml ] || install -D -m 0640 confxml.xml $(DESTDIR)/etc/sersync/confxml.xml
