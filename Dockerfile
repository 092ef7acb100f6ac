# syntax=docker/dockerfile:1
FROM rust:1.95-slim-bookworm AS build
WORKDIR /src
# What aws-lc needs to compile.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends cmake g++ make \
    && rm -rf /var/lib/apt/lists/*
COPY Cargo.toml Cargo.lock ./
COPY src src
COPY templates templates
COPY .cargo .cargo
COPY benches benches
RUN cargo build --release --locked --bin causeway

# The HAProxy that is tested: Debian 12's own.
FROM debian:12-slim
RUN apt-get update \
    && apt-get install --yes --no-install-recommends ca-certificates haproxy libcap2-bin tini \
    && setcap cap_net_bind_service=+ep /usr/sbin/haproxy \
    && apt-get purge --yes --auto-remove libcap2-bin \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --system --home-dir /var/lib/causeway --shell /usr/sbin/nologin causeway \
    && install --directory --owner=causeway --group=causeway --mode=0700 /var/lib/causeway /run/causeway
COPY --from=build /src/target/release/causeway /usr/local/bin/causeway
COPY config/causeway.toml /etc/causeway/causeway.toml
COPY packaging/supervise /usr/local/bin/supervise
USER causeway
ENV CAUSEWAY_CONFIG=/etc/causeway/causeway.toml
VOLUME /var/lib/causeway
EXPOSE 80 443 9090 9091
STOPSIGNAL SIGTERM
# A small init is process 1: it reaps, passes signals on, and HAProxy stays when Causeway is restarted below it.
ENTRYPOINT ["/usr/bin/tini", "--", "/usr/local/bin/supervise"]
CMD ["causeway", "run"]
