#!/usr/bin/env bash
# What distance costs: the same run with all containers near each other, with the agents far away, and with the coordinator far away.
#
#   deploy/far-away.sh [DELAY_MS [LOSS_PERCENT]]        100 ms and 1 % unless said; prints a line for each
#
# Far away is whose interface delays what it sends, and drops some of it: by netem of tc in its network, or, where the kernel has none, by
# deploy/wire.py, which takes some of the processor itself. Needs root, python3, jq, and docker-compose.yml's images (MUSTER_IMAGE and
# MUSTER_DB_IMAGE name others). Statements sleep for 5 ms, so that it is not the processor that is measured. ROWS says how many there are,
# CASES which of the three are run: ROWS=40000 CASES="near coordinator".
set -euo pipefail
cd "$(dirname "$0")/.."

delay_ms=${1:-100}
loss_percent=${2:-1}
rows=${ROWS:-8000}
read -ra cases <<<"${CASES:-near agents coordinator}"
run_seconds_max=300

project=muster-far-$$
export AGENTS=10
if docker compose version >/dev/null 2>&1; then compose=(docker compose); else compose=(docker-compose); fi

main() {
    work=$(mktemp -d)
    trap clean_up EXIT
    chmod 755 "$work"
    export MUSTER_DATA=$work
    awk -v rows="$rows" 'BEGIN { print "hostname,row"; for (i = 0; i < rows; i++) printf "host%02d,%d\n", i % 50, i }' >"$work/rows.csv"
    echo "SELECT :hostname::text, :row::int FROM pg_sleep(0.005)" >"$work/rows.sql"
    export RUN_ARGS="--placement balanced --allow-void --query data/rows.sql data/rows.csv"
    in_compose up -d db
    local far
    for far in "${cases[@]}"; do
        measure "$far"
    done
    column -t -s '|' "$work/table"
    # Why sessions were lost, where some were.
    cat "$work/losses" 2>/dev/null || true
}

clean_up() {
    local status=$?
    trap - EXIT
    end_delay
    in_compose down --timeout 5 --volumes --remove-orphans || true
    [ "$status" -eq 0 ] || cat "$work/log"
    rm -rf "$work"
    exit "$status"
}

in_compose() {
    "${compose[@]}" --project-name "$project" "$@" >>"$work/log" 2>&1
}

containers_of() {
    "${compose[@]}" --project-name "$project" ps -q "$1" 2>>"$work/log"
}

# One run with one of them far away. Who is far away starts first, and sees nobody before its wire is as long as it is to be.
measure() {
    local far=$1 first=coordinator second=agent
    if [ "$far" = agents ]; then
        first=agent second=coordinator
    fi
    in_compose up -d --no-deps join
    in_compose up -d "$first"
    how=-
    if [ "$far" != near ]; then
        # shellcheck disable=SC2046 # Ids are words.
        begin_delay $(containers_of "$first")
    fi
    in_compose up -d "$second"
    local coordinator status
    coordinator=$(containers_of coordinator)
    status=$(timeout "$run_seconds_max" docker wait "$coordinator")
    end_delay
    docker logs "$coordinator" >"$work/report" 2>&1
    "${compose[@]}" --project-name "$project" logs --no-color agent >"$work/agents" 2>>"$work/log"
    local run
    run=$(grep -oE '(VALID|DEGRADED|VOID) +run [0-9a-z-]+' "$work/report" | awk '{ print $3 }' | head -n 1)
    in_compose rm --force --stop coordinator agent
    "${compose[@]}" --project-name "$project" run -T --rm --no-deps coordinator report "$run" --output json 2>>"$work/log" \
        >"$work/$far.json"
    line "$far" "$status"
}

begin_delay() {
    local container
    if add_netem "$1"; then
        how=netem
        for container in "${@:2}"; do
            add_netem "$container"
        done
        return
    fi
    how=wire.py
    : >"$work/wire"
    python3 deploy/wire.py "$delay_ms" "$loss_percent" "$@" >"$work/wire" 2>>"$work/log" &
    wire=$!
    until grep -q ready "$work/wire"; do
        kill -0 "$wire" || { echo "wire.py did not start"; return 1; }
        sleep 0.1
    done
}

add_netem() {
    nsenter -t "$(docker inspect --format '{{.State.Pid}}' "$1")" -n \
        tc qdisc add dev eth0 root netem delay "${delay_ms}ms" loss "$loss_percent%" 2>>"$work/log"
}

# netem goes with its container.
end_delay() {
    if [ -n "${wire:-}" ]; then
        kill "$wire" 2>/dev/null || true
        wait "$wire" 2>/dev/null || true
        wire=
        how="wire.py, $(grep late "$work/wire" || true)"
    fi
}

line() {
    [ -e "$work/table" ] || echo "far away|by|exit|verdict|completed|failed|unaccounted|lost sessions|duplicates|queries/s|starved, ms|start skew, ms|median, ms|p95, ms|p99, ms|max, ms" >"$work/table"
    jq -r --arg far "$1" --arg status "$2" --arg how "$how" '[$far, $how, $status, .verdict.status, .queries.completed,
        .queries.failed, .queries.unaccounted, ([.agents[].sessions[] | select(.lost)] | length), .queries.duplicates,
        (.throughput_qps * 10 | round / 10), ([.agents[].health.starved_ms? // 0] | add / length | round), (.start_skew_ms * 10 | round / 10), (.service_time_ms | .median, .p95, .p99, .max | . * 10 | round / 10)]
        | map(tostring) | join("|")' "$work/$1.json" >>"$work/table"
    if jq -e '[.agents[].sessions[] | select(.lost)] | length > 0' "$work/$1.json" >/dev/null; then
        jq -r '.events[] | "\(.at_ms) ms  \(.what)"' "$work/$1.json" | grep -v joined >>"$work/losses"
        cat "$work/agents" >>"$work/losses"
    fi
}

main "$@"
