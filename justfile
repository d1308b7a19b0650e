# The one door: what CI runs, you run.

# What there is
default:
    @just --list

# The demo: ten agents in one process, an embedded PostgreSQL, the sample workload
run *arguments="--agents 10 --local data/query_params.csv":
    cargo run --release --locked --bin coordinator -- run {{ arguments }}

# All tests, or those that match
test *arguments:
    cargo test --workspace --locked {{ arguments }}

# All that CI checks
ci:
    .ci/run

# docker-compose.yml with real containers, of which some are killed; or the cases named: sample, killed, restarted
check-compose *cases:
    deploy/check-compose.sh {{ cases }}

# The image, by the whole Dockerfile: minutes, for it compiles everything
image *arguments:
    docker build -f deploy/Dockerfile -t muster --build-arg REVISION="$(git rev-parse HEAD)" {{ arguments }} .

# What distance costs: ten containers near, and behind so much delay and loss. Needs root, and an image of Muster
far-away delay_ms="100" loss_percent="1":
    deploy/far-away.sh {{ delay_ms }} {{ loss_percent }}

# Format the code
fmt:
    cargo fmt --all

# Clippy, as strict as CI
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Random faults against the counting, in virtual time: so many schedules of the simulation
simulate N="100000":
    MUSTER_SIMULATIONS={{ N }} cargo test --release --locked -p muster-common --test simulation every_row -- --nocapture

# What each mechanism of the counting is there for: how many of so many schedules go wrong without it
simulate-without N="1000":
    MUSTER_SIMULATIONS={{ N }} cargo test --release --locked -p muster-common --test simulation every_mechanism -- --nocapture

# The real coordinator and agents over a simulated network that breaks, in virtual time: so many runs
turmoil N="1000":
    MUSTER_NETWORKS={{ N }} cargo test --locked -p muster-coordinator --lib simulated_network::every_row -- --nocapture

# Ten runs in a row with ten agents each, one of them killed on the way; a line each. Takes two minutes
kills:
    cargo test --locked -p muster-coordinator --test faults -- --ignored --nocapture

# A hundred runs that nothing is done to, one after the other; how often each verdict was given. Takes some minutes
healthy:
    cargo test --locked -p muster-coordinator --test verdict -- --ignored --nocapture

# The figures of docs/PERFORMANCE.md, or those of the sections named, printed and written into the page: `just bench placement`
bench *sections:
    cargo bench --locked -p muster-coordinator --bench performance -- --write {{ sections }}

# Instructions of the hot paths against those written down in benches/counts/counts.txt; `just counts --write` renews them. Needs valgrind
counts *arguments:
    cargo run --release --locked -p muster-counts -- {{ arguments }}

# Where the coordinator's and an agent's processor time goes in a short loaded run: tables, and flame graphs. Needs perf
profile:
    benches/profile.sh

# The figures of docs/FIDELITY.md, or those of the sections named: quantiles, stall, due, pgbench, same, healthy
fidelity *sections:
    cargo bench --locked -p muster-coordinator --bench fidelity -- {{ sections }}

# Write proto/src/generated anew, after a change of the .proto files
proto:
    cargo run --locked -p muster-proto-generate
    cargo test --locked -p muster-proto-generate

# Write docs/muster.result.v1.schema.json and docs/muster.compare.v1.schema.json anew, after a change of the result types
schema:
    UPDATE_SCHEMA=1 cargo test --locked -p muster-coordinator --lib the_committed_schema_is_that_of_the_types

# Demo data as a file, for `migrate` to load: `just generate cpu-usage --hosts 100`, `just generate query-params rows.csv`
generate *arguments="cpu-usage":
    cargo run --release --locked --bin coordinator -- generate {{ arguments }}

# All that deploys Muster: rendered, verified and held against each other, without a cluster
check-deploy *arguments:
    deploy/check.sh {{ arguments }}

# Licenses, duplicates and sources of the dependencies; needs cargo-deny
deny:
    cargo deny --locked check bans licenses sources

# Make the journals of real runs in fuzz/seeds anew, after a change of their format
seeds:
    cargo test --locked -p muster-coordinator --test fuzz_seeds -- --ignored --nocapture

# Throws random input at a target for some time: database_url, journal, messages, query or workload; needs cargo-fuzz and a nightly compiler
fuzz target seconds="60":
    mkdir -p fuzz/corpus/{{ target }}
    cargo +nightly fuzz run {{ target }} fuzz/corpus/{{ target }} fuzz/seeds/{{ target }} -- -max_total_time={{ seconds }} -max_len=16384
