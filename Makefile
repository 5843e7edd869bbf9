# Two commands do all the set-up on a fresh Debian machine with a Rust toolchain:
# `make demo` shows the main job live, `make test` runs everything that decides a release.

CARGO ?= cargo
PREFIX ?= /usr/local
DESTDIR ?=
TARGET = $(or $(CARGO_TARGET_DIR),target)
BIN = $(TARGET)/release/sersync-supervisor

.PHONY: all demo test faults fuzz bench man deb test-deb static install deps test-deps bench-deps

all: $(BIN)

$(BIN): deps FORCE
	$(CARGO) build --release --locked

FORCE:

# rsync is what the product runs; it is also what the tests compare with.
deps:
	@command -v rsync >/dev/null || { apt-get update -q && apt-get install -y -q rsync; }

# The tests mirror over ssh to an sshd of their own, and let systemd judge its units.
test-deps: deps
	@[ -x /usr/sbin/sshd ] && command -v systemd-analyze >/dev/null \
		|| { apt-get update -q && apt-get install -y -q openssh-server openssh-client systemd; }

demo: $(BIN)
	$(BIN) demo

# More threads than cores: most of the time a test waits for something to come about.
test: test-deps
	RUST_TEST_THREADS=$${RUST_TEST_THREADS:-4} $(CARGO) test --workspace --locked

# The long form of the fault suite: a quarter of an hour and more. docs/reliability.md tells what it
# showed. The short form is part of `make test`.
faults: test-deps
	FAULTS=long RUST_TEST_THREADS=$${RUST_TEST_THREADS:-4} $(CARGO) test --release -p supervisor --locked --test faults -- --nocapture

# Ten minutes each; a nightly compiler and `cargo install cargo-fuzz --locked`.
fuzz:
	for target in config frames lists; do \
		cargo +nightly fuzz run -O $$target fuzz/corpus/$$target supervisor/tests/broken \
			-- -max_total_time=600 || exit 1; \
	done

# Measures the release build beside plain rsync and its peers, and writes the tables and plots of
# docs/performance.md: about half an hour on a quiet machine, as root. Parts: ONLY=W1,W5 REPS=3 PEERS=none.
bench: $(BIN) bench-deps
	$(CARGO) build --release --locked -p bench
	target/release/bench --bin $(BIN) --only "$(ONLY)" --peers "$(PEERS)" $(if $(REPS),--reps $(REPS)) \
		$(if $(SCALE),--scale $(SCALE)) $(if $(LARGE),--large $(LARGE)) $(BENCH)

# A peer that cannot be had is left out; `bench` says which.
bench-deps: deps
	@command -v git >/dev/null || { apt-get update -q && apt-get install -y -q git; }
	@[ "$(PEERS)" = none ] || for peer in lsyncd clsync inotify-tools; do \
		dpkg -s $$peer >/dev/null 2>&1 || { apt-get update -q && apt-get install -y -q $$peer; } || true; \
	done

# Manual pages and completions, out of the code and docs/configuration.md. `make test` fails where these
# are not what this writes.
man: test-deps
	mkdir -p packaging/man packaging/completions
	WRITE_MAN=1 $(CARGO) test -p supervisor --locked --test packaging pages_and_completions_are_current

# The Debian package: target/debian/sersync-supervisor_VERSION_ARCH.deb. cargo-deb is fetched once.
CARGO_DEB = $(or $(shell command -v cargo-deb),$(HOME)/.cache/sersync/bin/cargo-deb)
deb: deps
	@[ -x $(CARGO_DEB) ] || $(CARGO) install cargo-deb --locked --version 3.8.0 --root $(HOME)/.cache/sersync
	@command -v dpkg-shlibdeps >/dev/null || { apt-get update -q && apt-get install -y -q dpkg-dev; }
	$(CARGO_DEB) -p supervisor --locked

# Installs, upgrades, removes and purges the package in a Debian of its own. Takes root, a mirror of Debian and
# ten minutes, so it is no part of `make test`.
test-deb: deb
	@command -v debootstrap lintian systemd-nspawn | wc -l | grep -q 3 \
		|| { apt-get update -q && apt-get install -y -q debootstrap lintian systemd-container; }
	packaging/test-package $$(ls -t $(TARGET)/debian/sersync-supervisor_*.deb | head -1)

# One file that needs no library of the machine it runs on. What differs: docs/operations.md.
MUSL = $(shell uname -m)-unknown-linux-musl
static:
	rustup target add $(MUSL)
	@command -v musl-gcc >/dev/null || { apt-get update -q && apt-get install -y -q musl-tools; }
	$(CARGO) build --release --locked -p supervisor --target $(MUSL)

install: $(BIN)
	install -D -m 0755 $(BIN) $(DESTDIR)$(PREFIX)/sbin/sersync-supervisor
	install -d $(DESTDIR)$(PREFIX)/bin
	ln -sf ../sbin/sersync-supervisor $(DESTDIR)$(PREFIX)/bin/sersync2
	[ -e $(DESTDIR)/etc/sersync/confxml.xml ] || install -D -m 0640 confxml.xml $(DESTDIR)/etc/sersync/confxml.xml
	for unit in sersync-supervisor sersync-strict; do \
		install -d $(DESTDIR)/usr/lib/systemd/system && \
		sed 's|/usr/sbin/sersync-supervisor|$(PREFIX)/sbin/sersync-supervisor|' packaging/$$unit.service \
			> $(DESTDIR)/usr/lib/systemd/system/$$unit.service || exit 1; \
	done
	install -D -m 0644 packaging/sysusers.d/sersync.conf $(DESTDIR)/usr/lib/sysusers.d/sersync.conf
	install -D -m 0644 packaging/tmpfiles.d/sersync.conf $(DESTDIR)/usr/lib/tmpfiles.d/sersync.conf
	install -D -m 0644 packaging/sysctl.d/60-sersync.conf $(DESTDIR)/usr/lib/sysctl.d/60-sersync.conf
	install -D -m 0644 packaging/sysusers.d/sersync-ssh.conf $(DESTDIR)$(PREFIX)/share/sersync/sersync-ssh.conf
	install -D -m 0644 packaging/sersync-supervisor-cgroup.conf \
		$(DESTDIR)$(PREFIX)/share/sersync/sersync-supervisor-cgroup.conf
	install -D -m 0644 packaging/sersync-supervisor-fanotify.conf \
		$(DESTDIR)$(PREFIX)/share/sersync/sersync-supervisor-fanotify.conf
	for section in 5 8; do \
		install -D -m 0644 -t $(DESTDIR)$(PREFIX)/share/man/man$$section packaging/man/*.$$section || exit 1; \
	done
	install -D -m 0644 packaging/completions/sersync-supervisor.bash \
		$(DESTDIR)$(PREFIX)/share/bash-completion/completions/sersync-supervisor
	install -D -m 0644 packaging/completions/_sersync-supervisor \
		$(DESTDIR)$(PREFIX)/share/zsh/site-functions/_sersync-supervisor
	install -D -m 0644 packaging/completions/sersync-supervisor.fish \
		$(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/sersync-supervisor.fish
