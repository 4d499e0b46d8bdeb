# syntax=docker/dockerfile:1
# The image of viva. scripts/replay-image.sh runs the same build steps where there is no Docker.

FROM swift:6.3-noble AS build
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        libsqlite3-dev=3.* libssl-dev=3.* pkg-config=1.* zlib1g-dev=1:1.* \
    && rm -rf /var/lib/apt/lists/*
WORKDIR /src
# The manifest alone first: dependencies are fetched again only when it changes.
COPY Package.swift ./
RUN swift package resolve
COPY openapi.yaml ./
COPY Sources ./Sources
COPY Tests ./Tests
COPY Benchmarks ./Benchmarks
RUN swift build -c release --product viva --static-swift-stdlib \
    && install -D -m 0755 "$(swift build -c release --static-swift-stdlib --show-bin-path)/viva" /out/app/viva \
    && install -D -m 0755 /usr/libexec/swift/linux/swift-backtrace-static /out/app/swift-backtrace-static \
    && install -d -m 0750 -o 10001 -g 10001 /out/data

FROM ubuntu:noble
RUN apt-get update \
    && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends \
        ca-certificates=2* libopenblas0=0.3.* libsqlite3-0=3.* libssl3t64=3.* tzdata=2* zlib1g=1:1.* \
    && rm -rf /var/lib/apt/lists/* \
    && groupadd --system --gid 10001 viva \
    && useradd --system --uid 10001 --gid 10001 --home-dir /data --no-create-home --shell /usr/sbin/nologin viva
COPY --from=build /out/app /app
COPY --from=build --chown=10001:10001 /out/data /data
LABEL org.opencontainers.image.title="viva-tensor" \
      org.opencontainers.image.description="Model weights in over HTTP; INT8, NF4, INT4, FP8 and AWQ artifacts out" \
      org.opencontainers.image.licenses="MIT"
# A backtrace keeps a crashed server from being started anew for seconds: say enable=yes to look for the cause of one.
ENV SWIFT_BACKTRACE=enable=no,sanitize=yes,threads=all,images=all,interactive=no,swift-backtrace=/app/swift-backtrace-static
USER 10001:10001
WORKDIR /data
VOLUME /data
EXPOSE 8080
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 CMD ["/app/viva", "healthcheck"]
ENTRYPOINT ["/app/viva"]
# A container's address is its own, not loopback, where keys would be required. Here the host decides who may reach the
# port: publish it on 127.0.0.1 (docker run -p 127.0.0.1:8080:8080). deploy/README.md says how to serve others, by keys.
CMD ["serve", "--listen", "0.0.0.0:8080", "--data", "/data", "--auth", "none"]
