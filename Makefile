# Two commands on a fresh machine: `make demo` and `make test`.
CARGO ?= cargo
# zookeeper is the program alone, for the tests; what would run it as a service is another package, zookeeperd.
APT_PACKAGES = haproxy zookeeper chromium chromium-driver

.PHONY: setup build demo test lint deny bench soak fuzz clean

# Installs what building and testing need from Debian; does nothing where it is there.
setup:
	@missing=""; for package in $(APT_PACKAGES); do \
	  dpkg-query -W -f='$${Status}' $$package 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$package"; done; \
	if [ -n "$$missing" ]; then \
	  sudo=""; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	  echo "installing$$missing"; \
	  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq update && \
	  $$sudo env DEBIAN_FRONTEND=noninteractive apt-get -qq -y install --no-install-recommends $$missing >/dev/null; \
	  if [ -d /run/systemd/system ]; then $$sudo systemctl disable --now haproxy >/dev/null 2>&1 || true; fi; \
	fi

build:
	$(CARGO) build --release --locked

# The main job, live: a stand-in Marathon, a real HAProxy, real servers.
demo: setup
	@[ -x target/debug/causeway ] || echo "compiling Causeway, which takes some minutes the first time"
	$(CARGO) run --locked --quiet -- demo $(DEMO_ARGS)

test: setup
	@if $(CARGO) nextest --version >/dev/null 2>&1; then \
	  $(CARGO) nextest run --locked && $(CARGO) test --locked --quiet --doc; \
	else $(CARGO) test --locked; fi

lint:
	$(CARGO) fmt --check
	$(CARGO) clippy --locked --all-targets -- -D warnings

# Bans, licences, sources. cargo-deny has to be compiled first, so it is not part of CI.
deny:
	@$(CARGO) deny --version >/dev/null 2>&1 || $(CARGO) install --locked cargo-deny
	$(CARGO) deny check bans licenses sources

# Every figure beside its aim, at up to 10,000 apps of 10 tasks; about twenty minutes. Some of them: make bench FIGURES="sizes burst".
bench: APT_PACKAGES += wrk
bench: setup
	$(CARGO) bench --locked --bench figures -- $(FIGURES)

# Changes and faults under load, for minutes: make soak MINUTES=60.
soak: APT_PACKAGES += wrk
soak: setup
	BENCH_MINUTES=$(or $(MINUTES),10) $(CARGO) bench --locked --bench figures -- soak

# What comes from outside, made up at random: make fuzz CASES=1000000.
fuzz:
	PROPTEST_CASES=$(or $(CASES),100000) $(CARGO) test --release --locked --test hostile

clean:
	$(CARGO) clean
