#!/usr/bin/env bash
# Measures the effect of network latency: runs the same workload with no added delay, with delayed agents, and with a delayed coordinator.
#
#   deploy/far-away.sh [DELAY_MS [LOSS_PERCENT]]        default: 100 ms and 1 %; prints one line per run
#
# A far container's interface delays the packets it sends and drops some of them. This is done by tc's netem in the container's network
# namespace, or, if the kernel has no netem, by deploy/wire.py, which uses some CPU itself. Needs root, python3, jq, and the images of
# docker-compose.yml (set MUSTER_IMAGE and MUSTER_DB_IMAGE to use others). Statements sleep for 5 ms so that the CPU is not the
# bottleneck. ROWS is the number of rows, CASES the list of runs: ROWS=40000 CASES="near coordinator".
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
    # The reasons for lost sessions, if there are any.
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

# Runs the workload with one side far away. The far side starts first, and the other side starts only after the delay is in place.
measure() {
    local far=$1 first=coordinator second=agent
    if [ "$far" = agents ]; then
        first=agent second=coordinator
    fi
    in_compose up -d --no-deps join
    in_compose up -d "$first"
    how=-
    if [ "$far" != near ]; then
        # shellcheck disable=SC2046 # Ids are split into words on purpose.
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

# netem ends with its container.
end_delay() {
    if [ -n "${wire:-}" ]; then
        kill "$wire" 2>/dev/null || true
        wait "$wire" 2>/dev/null || true
        wire=
        how="wire.py, $(grep delay "$work/wire" || true)"
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
