#!/usr/bin/env bash
# Makes docs/report.png, the picture of the README, from a real run: an embedded PostgreSQL is stopped for one second, and one of four agents
# is killed. Needs the built programs in target/release (or MUSTER_BIN) and Chromium.
set -euo pipefail
cd "$(dirname "$0")/.."
bin=${MUSTER_BIN:-target/release}
work=$(mktemp -d)
server=()
trap 'kill -CONT "${server[@]}" 2>/dev/null || true; kill $(jobs -p) 2>/dev/null || true; rm -rf "$work"' EXIT

# Waits until the coordinator has printed this.
wait_for() {
    until grep -q "$1" "$work/log"; do
        kill -0 "$coordinator"
        sleep 0.1
    done
}

# Prints the descendants of a process that are PostgreSQL's.
postgres_below() {
    local child
    for child in $(pgrep -P "$1" || true); do
        [ "$(cat "/proc/$child/comm" 2>/dev/null)" != postgres ] || echo "$child"
        postgres_below "$child"
    done
}

# Random hours of the demo data for a hundred hosts, for twelve seconds.
awk 'BEGIN {
    srand(1); print "hostname,start_time,end_time"
    for (row = 0; row < 540; row++) {
        hour = int(rand() * 22)
        printf "host_%06d,2017-01-01 %02d:00:00,2017-01-01 %02d:00:00\n", int(rand() * 100), hour, hour + 1
    }
}' >"$work/rows.csv"

"$bin/coordinator" run --agents 4 --listen 127.0.0.1:50097 --database-url embedded --rate 45 --arrivals poisson \
    --slot-grace 1s --no-run-dir --allow-void --output "html=$work/report.html" "$work/rows.csv" 2>"$work/log" &
coordinator=$!
wait_for "rows of demo data"
agents=()
for _ in 1 2 3 4; do
    "$bin/agent" --coordinator 127.0.0.1:50097 --once 2>/dev/null &
    agents+=($!)
done
wait_for "4 of 4 joined"
sleep 4
mapfile -t server < <(postgres_below "$coordinator")
kill -STOP "${server[@]}"
sleep 1
kill -CONT "${server[@]}" 2>/dev/null || true
sleep 3
kill -KILL "${agents[1]}"
wait "$coordinator" || true
chromium --headless --no-sandbox --hide-scrollbars --window-size=940,1085 --screenshot=docs/report.png "file://$work/report.html" \
    2>/dev/null
