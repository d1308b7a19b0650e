# Runs the tests of the source tree that is mounted at /source. A copy in the image would become outdated.
# This is a separate file because without BuildKit all stages before the target stage would be built.
ARG BASE_BUILD=rust:1.95-slim-bookworm
FROM ${BASE_BUILD}
# The tests terminate servers and programs with `kill`, which is in procps.
RUN apt-get update && \
    apt-get install -y --no-install-recommends postgresql procps && \
    rm -rf /var/lib/apt/lists/*
# Selects the image's toolchain, because rust-toolchain.toml would make rustup download rustfmt and clippy.
ENV CARGO_HOME=/cache/cargo CARGO_TARGET_DIR=/cache/target RUSTUP_TOOLCHAIN=1.95.0
WORKDIR /source
CMD ["cargo", "test", "--workspace", "--locked"]
