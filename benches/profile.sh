#!/usr/bin/env bash
# Profiles a coordinator and an agent in a short run under load: `just profile`. They are separate processes, recorded with perf, and use an
# embedded database. Writes a table of functions and a table of callers for each program to target/profile, and a flame graph if inferno is
# installed.
#   ROWS=500000 WORKERS=8 QUERY='SELECT 1 ...' benches/profile.sh
set -euo pipefail
cd "$(dirname "$0")/.."

rows=${ROWS:-500000}
workers=${WORKERS:-8}
query=${QUERY:-SELECT 1 WHERE :hostname::text IS NOT NULL}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
out=$target/profile
address=127.0.0.1:$((20000 + RANDOM % 10000))
perf=(perf record --quiet --event cpu-clock --freq 999 --call-graph fp)

main() {
    if ! command -v perf >/dev/null; then
        echo "perf is not installed: install the package linux-perf (Debian) or linux-tools-generic (Ubuntu)" >&2
        exit 1
    fi
    mkdir -p "$out"
    build
    tmp=$(mktemp -d)
    trap clean_up EXIT
    "$programs/coordinator" generate query-params --rows "$rows" "$tmp/rows.csv"
    echo "$query" >"$tmp/query.sql"
    record
    for program in coordinator agent; do
        report "$program"
    done
    echo "wrote the profiles to $out"
}

# Builds with symbols, line tables and frame pointers, which the released programs do not have, in a separate directory. The first build
# takes minutes.
build() {
    programs=$out/build/release
    CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_STRIP=none RUSTFLAGS="-C force-frame-pointers=yes" \
        cargo build --release --locked --target-dir "$out/build" -p muster-coordinator -p muster-agent
}

# perf attaches to the coordinator when it listens. By then the coordinator has started the database, which is therefore not recorded.
record() {
    "$programs/coordinator" run --agents 1 --listen "$address" --database-url embedded --run-dir "$tmp/runs" --allow-void \
        --quiet --output json="$out/run.json" --query "$tmp/query.sql" "$tmp/rows.csv" &
    coordinator=$!
    until (: <>"/dev/tcp/${address/://}") 2>/dev/null; do
        kill -0 "$coordinator"
        sleep 0.1
    done
    "${perf[@]}" --output "$out/coordinator.data" --pid "$coordinator" &
    recorder=$!
    "${perf[@]}" --output "$out/agent.data" -- "$programs/agent" --once --coordinator "$address" --workers "$workers"
    wait "$coordinator"
    wait "$recorder"
    coordinator=
}

report() {
    local data=$out/$1.data
    perf report --input "$data" --stdio --no-children --call-graph none --percent-limit 0.3 2>/dev/null >"$out/$1.functions.txt"
    perf report --input "$data" --stdio --children --percent-limit 1 2>/dev/null >"$out/$1.callers.txt"
    echo
    echo "$1:"
    grep -v '^#' "$out/$1.functions.txt" | grep -v '^$' | head -15 || true
    if command -v inferno-collapse-perf >/dev/null && command -v inferno-flamegraph >/dev/null; then
        perf script --input "$data" 2>/dev/null | inferno-collapse-perf | inferno-flamegraph --title "$1" >"$out/$1.svg"
    else
        echo "(no flame graph: inferno is not installed; run \`cargo install inferno\`)"
    fi
}

clean_up() {
    [ -z "${coordinator:-}" ] || kill "$coordinator" 2>/dev/null || true
    rm -rf "$tmp"
}

main "$@"
