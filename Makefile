# What a person types. Every target sets up what it needs by itself (scripts/setup.sh); the work is in scripts/.
VIVA := .build/release/viva
SOAK_SECONDS ?= 3600
FORMATTED := Sources Tests Benchmarks/Kernels Benchmarks/Catalogue Benchmarks/HummingbirdPeer/Sources \
	Fuzz/Sources Package.swift Fuzz/Package.swift

.PHONY: help setup build run demo test lint bench bench-kernels bench-catalogue check-arm64 conformance
.PHONY: conformance-uploads conformance-vllm conformance-awq crash quality quality-awq quality-decoder bench-awq
.PHONY: bench-server scoreboard image-replay tls-check slow-test soak fuzz sanitize memcheck clean
.NOTPARALLEL:

help:
	@echo "make demo          quantize real weights over HTTP and show what was lost"
	@echo "make run           serve on 127.0.0.1:8080, data in ./viva-data"
	@echo "make test          lint, build and every test"
	@echo "make conformance   load our artifacts and folders with the real libraries (downloads torch once)"
	@echo "make conformance-uploads  have tuspy upload while the service is killed under it"
	@echo "make conformance-vllm  have vLLM load our folders and generate (downloads 3.5 GB once)"
	@echo "make conformance-awq  capture_activations.py, then AWQ with data beside GPTQModel and AutoRound (2 GB once)"
	@echo "make bench         the whole server against the slowest of its stages"
	@echo "make bench-server  small requests, bodies, TLS and idle connections beside nginx and Hummingbird"
	@echo "make crash         kill the service 200 times under load, fail its system calls, fill its disk; check it all"
	@echo "make tls-check     sslscan and testssl.sh look at the service; fails on what they find serious"
	@echo "make slow-test     2,000 slow clients in four ways beside one that must not notice, 10,000 that rest"
	@echo "make soak          an hour (SOAK_SECONDS) of mixed traffic with clients that break off; nothing may grow"
	@echo "make quality       measure docs/QUALITY.md anew: every method, format and mode beside the limits"
	@echo "make quality-awq   the output error that calibration data saves, into docs/QUALITY.md"
	@echo "make quality-decoder  perplexity of two small decoders in each format, into docs/QUALITY.md (an hour)"
	@echo "make bench-awq     AWQ of one Linear beside AutoAWQ's own search, into docs/PERFORMANCE.md"
	@echo "make bench-kernels the kernels and sessions in memory beside the libraries, written into docs/PERFORMANCE.md"
	@echo "make bench-catalogue  10,000 jobs and 100,000 artifacts in the catalogue beside the disk's own commits"
	@echo "make check-arm64   compile the C kernels for 64-bit ARM"
	@echo "make scoreboard    measure the scoreboard anew and write it into README.md"
	@echo "make fuzz          fuzz every reader of foreign bytes for FUZZ_SECONDS (60) each; docs/FUZZING.md"
	@echo "make sanitize      the tests under AddressSanitizer and ThreadSanitizer; docs/FUZZING.md"
	@echo "make memcheck      the release executable under valgrind, asked by clients that break off; docs/FUZZING.md"
	@echo "make image-replay  replay the Dockerfile's build here and run what it would ship"
	@echo "make build lint clean"

setup:
	@scripts/setup.sh

build: setup
	swift build -c release --product viva

run: build
	$(VIVA) serve --listen 127.0.0.1:8080 --data ./viva-data

demo: build
	@scripts/with-server.sh scripts/demo.sh

lint: setup
	swift format lint --strict -r $(FORMATTED)

# The tests of the whole service drive the release executable, so it is built first.
test: setup lint build
	swift build --build-tests
	swift test

bench: build
	scripts/with-server.sh python3 Benchmarks/bench.py

bench-server: setup
	scripts/bench-server.sh

bench-kernels: setup
	scripts/bench-kernels.sh

bench-awq: build
	tools/awq/run.sh bench

bench-catalogue: setup
	scripts/bench-catalogue.sh

check-arm64: setup
	scripts/check-arm64.sh

crash: build
	python3 tools/crash/crash.py $(VIVA) --write docs/DURABILITY.md

tls-check: build
	tools/hostile/tls-check.sh $(VIVA) --write docs/OPERATIONS.md

slow-test: build
	python3 tools/hostile/slow.py $(VIVA) --write docs/OPERATIONS.md

soak: build
	python3 tools/hostile/soak.py $(VIVA) --seconds $(SOAK_SECONDS) --write docs/OPERATIONS.md

conformance: build
	tools/conformance/run.sh

conformance-uploads: build
	tools/conformance/uploads.sh

conformance-vllm: build
	tools/conformance/vllm.sh

conformance-awq: build
	tools/awq/run.sh conformance

quality: build
	tools/conformance/quality.sh

quality-awq: build
	tools/awq/run.sh quality

quality-decoder: build
	tools/awq/run.sh decoder

scoreboard: build
	scripts/with-server.sh python3 scripts/scoreboard.py --write README.md

fuzz: setup
	Fuzz/run.sh

sanitize: setup
	tools/sanitize/run.sh

memcheck: build
	python3 tools/sanitize/memcheck.py $(VIVA)

image-replay: setup
	scripts/replay-image.sh

clean:
	rm -rf .build .build-address .build-thread .build-release Fuzz/.build .venv-conformance .venv-uploads .venv-vllm .venv-awq .awq-data
