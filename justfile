# All commands of the project. CI runs the same commands.

# List the recipes
default:
    @just --list

# Run the demo: ten agents in one process, an embedded PostgreSQL, the sample workload
run *arguments="--agents 10 --local data/query_params.csv":
    cargo run --release --locked --bin coordinator -- run {{ arguments }}

# Run all tests, or those that match
test *arguments:
    cargo test --workspace --locked {{ arguments }}

# Run everything that CI checks
ci:
    .ci/run

# Run docker-compose.yml with real containers and kill some of them, or run only the named cases: sample, killed, restarted
check-compose *cases:
    deploy/check-compose.sh {{ cases }}

# Build the image with the complete Dockerfile. Takes minutes, because it compiles everything
image *arguments:
    docker build -f deploy/Dockerfile -t muster --build-arg REVISION="$(git rev-parse HEAD)" {{ arguments }} .

# Measure the effect of network delay and loss: ten containers with and without them. Needs root and an image of Muster
far-away delay_ms="100" loss_percent="1":
    deploy/far-away.sh {{ delay_ms }} {{ loss_percent }}

# Format the code
fmt:
    cargo fmt --all

# Run Clippy with the same settings as CI
lint:
    cargo clippy --workspace --all-targets --locked -- -D warnings

# Run the coordinator and agents N times over a simulated network with faults, in virtual time
simulate N="1000":
    MUSTER_SEEDS={{ N }} cargo test --workspace --locked --lib simulated_network::every_row -- --nocapture

# Remove each mechanism of the accounting from the source code in turn, and count how many of N simulated runs fail. Takes a quarter of an hour
mutants N="1000":
    MUSTER_SEEDS={{ N }} cargo test --workspace --locked --lib every_mechanism -- --ignored --nocapture

# Run ten times with ten agents, kill one agent during each run, and print one line per run. Takes two minutes
kills:
    cargo test --locked -p muster-coordinator --test runs faults -- --ignored --nocapture

# Run a hundred undisturbed runs and count the verdicts. Takes some minutes
healthy:
    cargo test --locked -p muster-coordinator --test measurement verdict -- --ignored --nocapture

# Measure all sections of docs/internals/performance.md, or only those named, and write them into the page: `just bench placement`
bench *sections:
    cargo bench --locked -p muster-coordinator --bench performance -- --write {{ sections }}

# Compare the instruction counts of the hot paths with benches/counts/counts.txt; `just counts --write` updates them. Needs valgrind
counts *arguments:
    cargo run --release --locked -p muster-counts -- {{ arguments }}

# Profile the coordinator and an agent in a short run under load: tables and flame graphs. Needs perf
profile:
    benches/profile.sh

# Measure all sections of docs/internals/fidelity.md, or only those named: quantiles, stall, pause, queue, due, pgbench, same, healthy
fidelity *sections:
    cargo bench --locked -p muster-coordinator --bench fidelity -- {{ sections }}

# Write the HTML reports of the tests into a directory, to look at them
pages directory="target/pages":
    mkdir -p {{ directory }}
    MUSTER_PAGES="$(realpath {{ directory }})" cargo test --workspace --locked --lib -- pages_are_written

# Make the picture of the README, docs/report.png. Needs Chromium
picture:
    docs/picture.sh

# Regenerate proto/src/generated after a change of the .proto files
proto:
    cargo run --locked -p muster-proto-generate
    cargo test --locked -p muster-proto-generate

# Regenerate docs/muster.result.v1.schema.json and docs/muster.compare.v1.schema.json after a change of the result types
schema:
    UPDATE_SCHEMA=1 cargo test --locked -p muster-report --features schema --lib the_committed_schema

# Regenerate docs/reference and the schemas after a change of options, exit codes, result types or metrics
reference: schema
    UPDATE_REFERENCE=1 cargo test --locked -p muster-coordinator --lib reference::

# Write demo data to a file, which `migrate` can load: `just generate cpu-usage --hosts 100`, `just generate query-params rows.csv`
generate *arguments="cpu-usage":
    cargo run --release --locked --bin coordinator -- generate {{ arguments }}

# Check all files in deploy without a cluster
check-deploy *arguments:
    deploy/check.sh {{ arguments }}

# Check the licenses, duplicates and sources of the dependencies. Needs cargo-deny
deny:
    cargo deny --locked check bans licenses sources

# Regenerate the journals of real runs in fuzz/seeds after a change of their format
seeds:
    cargo test --locked -p muster-coordinator --test runs fuzz_seeds -- --ignored --nocapture

# Fuzz a target: database_url, journal, messages, query or workload. Needs cargo-fuzz and a nightly compiler
fuzz target seconds="60":
    mkdir -p fuzz/corpus/{{ target }}
    cargo +nightly fuzz run {{ target }} fuzz/corpus/{{ target }} fuzz/seeds/{{ target }} -- -max_total_time={{ seconds }} -max_len=16384
