# The tests of the source tree that is mounted at /source: an image with a copy would go on testing what it was built from.
# A file of its own, for without BuildKit every stage before the wanted one is built, wanted or not.
ARG BASE_BUILD=rust:1.95-slim-bookworm
FROM ${BASE_BUILD}
# The tests end servers and programs by `kill`, which is a program of procps.
RUN apt-get update && \
    apt-get install -y --no-install-recommends postgresql procps && \
    rm -rf /var/lib/apt/lists/*
# The toolchain that the image has; rust-toolchain.toml would have rustup download rustfmt and clippy, too.
ENV CARGO_HOME=/cache/cargo CARGO_TARGET_DIR=/cache/target RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /source
CMD ["cargo", "test", "--workspace", "--locked"]
