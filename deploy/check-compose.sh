#!/usr/bin/env bash
# Starts docker-compose.yml as it is, injects faults, and checks for each run that its counts add up and that its exit code is the one that
# docs/guide/failures.md documents. `.ci/run` and `just check-compose` call it. Arguments select the cases to run:
#
#   deploy/check-compose.sh sample killed restarted
#
# The image is the last stage of deploy/Dockerfile with the debug programs that cargo builds on this machine, or with those in the
# directory MUSTER_BIN: compiling them in a container would take longer than the whole check. `just image` builds the whole Dockerfile.
#
# Everything runs in a separate Compose project, which is removed at the end. Only images remain, for the next run: muster-check, and those
# of deploy/offline-images.sh if they had to be built. Needs docker, jq, and docker-compose or Compose v2. If there are several, set COMPOSE
# to the one to use: COMPOSE=docker-compose, COMPOSE="docker compose", or a path.
set -euo pipefail
cd "$(dirname "$0")/.."

cases=(sample killed restarted)
# Each limit is far above the normal duration; a step that hangs is terminated.
run_seconds_max=120
start_seconds_max=90
build_seconds_max=900

project=muster-check-$$

main() {
    [ $# -eq 0 ] || cases=("$@")
    # By default the offline database image, and a runtime base of this machine's distribution, which fits programs that are built here.
    export MUSTER_IMAGE=muster-check MUSTER_DB_IMAGE=${MUSTER_DB_IMAGE:-muster-postgres} BASE_RUNTIME=${BASE_RUNTIME:-muster-base-debian}
    find_tools
    work=$(mktemp -d)
    trap clean_up EXIT
    # Containers read this directory as another user.
    chmod 755 "$work"
    # If the base images cannot be built here, nothing can be tested, which is not a failure.
    base_images || skip "a Docker engine that cannot make or start the base images, for the reason above"
    step "context" context
    step "image" image
    local name
    for name in "${cases[@]}"; do
        step "$name" attempt "$name"
    done
    echo "-- all passed in $SECONDS s"
}

# A missing tool is not a failure: the check is skipped with a message.
find_tools() {
    # The client fails without a server, and would hang if the server hangs.
    timeout 10 docker version >/dev/null 2>&1 || skip "no Docker engine"
    if [ -n "${COMPOSE:-}" ]; then
        read -ra compose <<<"$COMPOSE"
        "${compose[@]}" version --short >/dev/null || { echo "COMPOSE='$COMPOSE' does not run" >&2; exit 2; }
    elif docker compose version >/dev/null 2>&1; then
        compose=(docker compose)
    elif docker-compose version >/dev/null 2>&1; then
        compose=(docker-compose)
    else
        skip "a Docker engine, but neither Compose v2 nor docker-compose"
    fi
    command -v jq >/dev/null || skip "a Docker engine, but no jq"
    if ! have_images && { [ "$(id -u)" != 0 ] || ! command -v debootstrap apt-get >/dev/null; }; then
        skip "no images $BASE_RUNTIME and $MUSTER_DB_IMAGE; to build them, deploy/offline-images.sh needs root, and debootstrap or apt-get"
    fi
    echo "engine $(docker version --format '{{.Server.Version}}'), compose $("${compose[@]}" version --short)"
}

skip() {
    echo "skipped: $1"
    exit 0
}

step() {
    local title=$1 start=$SECONDS status
    shift
    # Not `"$@" || …`, because bash would then ignore `set -e` in everything it calls.
    set +e
    (set -e; "$@")
    status=$?
    set -e
    if [ "$status" -ne 0 ]; then
        tail -n 40 "$work"/*.log || true
        echo "-- $title: FAILED after $((SECONDS - start)) s: $(cat "$work/problem" 2>/dev/null || echo "see above")"
        exit 1
    fi
    echo "-- $title: passed in $((SECONDS - start)) s"
}

# A case injects a fault during a run. On a busy machine the run may have ended before, so a failed case is retried once, with a message.
attempt() {
    local status
    set +e
    (set -e; "$1")
    status=$?
    set -e
    if [ "$status" -ne 0 ]; then
        echo "-- $1: $(cat "$work/problem" 2>/dev/null || echo "failed, see above"); retrying once"
        rm -f "$work/problem"
        docker ps -q --filter "label=com.docker.compose.project=$project" --filter status=paused | xargs -r docker unpause >/dev/null
        in_compose rm --force --stop coordinator agent >/dev/null 2>&1
        "$1"
    fi
}

# Prints a problem and stores it for the last line of the output.
problem() {
    echo "$*" | tee "$work/problem" >&2
    return 1
}

clean_up() {
    local status=$?
    trap - EXIT
    # A container that is paused cannot be stopped.
    docker ps -q --filter "label=com.docker.compose.project=$project" --filter status=paused | xargs -r docker unpause >/dev/null
    in_compose down --timeout 5 --volumes --remove-orphans >"$work/down.log" 2>&1 || { cat "$work/down.log"; status=1; }
    rm -rf "$work"
    local left
    left=$(docker ps -aq --filter "label=com.docker.compose.project=$project"
        docker volume ls -q --filter "label=com.docker.compose.project=$project"
        docker network ls -q --filter "label=com.docker.compose.project=$project")
    if [ -n "$left" ]; then
        echo "left over: $left"
        status=1
    fi
    exit "$status"
}

in_compose() {
    "${compose[@]}" --project-name "$project" "$@"
}

have_images() {
    docker image inspect "$BASE_RUNTIME" "$MUSTER_DB_IMAGE" >/dev/null 2>&1
}

base_images() {
    have_images || timeout "$build_seconds_max" deploy/offline-images.sh debian postgres || return 1
    docker run --rm --network none "$BASE_RUNTIME" true
}

# Checks that the build context has all files that the Dockerfile copies; .dockerignore might exclude some.
context() {
    {
        echo "FROM scratch"
        grep -E '^COPY [^-]' deploy/Dockerfile
    } | timeout "$build_seconds_max" docker build -q -t muster-check-context -f - . >"$work/context.log" 2>&1
    docker rmi muster-check-context >/dev/null
}

image() {
    local programs=${MUSTER_BIN:-${CARGO_TARGET_DIR:-target}/debug} context=$work/context
    [ -n "${MUSTER_BIN:-}" ] || cargo build --locked -p muster-agent -p muster-coordinator --bins
    mkdir -p "$context"/{etc/ssl/certs,build/target/release,data}
    cp "$programs"/{coordinator,agent} "$context/build/target/release/"
    cp /etc/ssl/certs/ca-certificates.crt "$context/etc/ssl/certs/"
    cp data/query_params.csv "$context/data/"
    # The stage is unchanged, except that it copies its files from this context.
    # shellcheck disable=SC2016 # Docker expands the variable.
    {
        grep '^ARG BASE_RUNTIME=' deploy/Dockerfile
        sed -n '/^FROM ${BASE_RUNTIME} AS runtime$/,$ s/ --from=build / /; /^FROM ${BASE_RUNTIME} AS runtime$/,$ p' deploy/Dockerfile
    } >"$context/Dockerfile"
    grep -q '^USER 10001$' "$context/Dockerfile" || problem "deploy/Dockerfile has no stage 'runtime'"
    timeout "$build_seconds_max" docker build -q -t "$MUSTER_IMAGE" --build-arg BASE_RUNTIME="$BASE_RUNTIME" "$context" 2>"$work/image.log"
    rm -r "$context"
}

# Ten containers run the sample to its end with the commands from the header of docker-compose.yml.
sample() {
    in_compose up -d db >>"$work/sample.log" 2>&1
    one_off migrate >>"$work/sample.log" 2>&1
    local status=0
    AGENTS=10 RUN_ARGS="--allow-void" timeout "$run_seconds_max" "${compose[@]}" --project-name "$project" \
        up --scale agent=10 --exit-code-from coordinator coordinator agent >>"$work/sample.log" 2>&1 || status=$?
    expect_exit 0 "$status"

    local run
    run=$(run_in "$work/sample.log")
    read_report "$run"
    check_counts 200
    holds '.queries | .completed == .total and .failed == 0' "every query of the sample completes"
    holds '[.agents[].name] | unique | length == 10' "ten containers took part"
    one_off run --local --agents 10 --allow-void --quiet - <data/query_params.csv | grep -F '200 completed' >/dev/null ||
        problem "a run with 200 rows from standard input does not report 200 completed rows"
    one_off runs | grep -F "$run" >/dev/null || problem "'runs' does not list run $run, which is stored in the volume"
    hardened
}

# During the run one agent is killed, one is paused for longer than its lease, and one loses the network permanently.
killed() {
    make_workload
    local undisturbed
    undisturbed=$(one_off run --local --agents 4 --workers 10 --allow-void --no-run-dir --quiet --output json \
        --query data/pause.sql data/pause.csv | jq -r .result.digest)

    # The grace is long enough for the paused agent to get its slot back.
    run_detached --slot-grace 8s
    docker kill "${agents[0]}" >/dev/null
    docker pause "${agents[1]}" >/dev/null
    docker network disconnect "${project}_default" "${agents[2]}"
    sleep 6
    docker unpause "${agents[1]}" >/dev/null
    expect_exit 0 "$(exit_code)"

    docker logs "$coordinator" >"$work/killed.log" 2>&1
    read_report "$(run_in "$work/killed.log")"
    check_counts "$rows"
    holds ".queries.completed == $rows" "every row completes"
    holds ".result.digest == \"$undisturbed\"" "the result digest equals that of an undisturbed run"
    holds '.verdict.status != "VALID" and (.verdict.causes | index("agent_lost") != null)' "the verdict names lost agents as a cause"
    local agent
    for agent in "${agents[@]:0:3}"; do
        # A container's host name is the beginning of its id.
        holds "[.agents[].sessions[] | select(.lost) | .name | startswith(\"${agent:0:12}/\")] | any" \
            "the report lists agent ${agent:0:12} as lost"
    done
    holds "[.agents[].sessions[] | select(.lost == null) | .name | startswith(\"${agents[1]:0:12}/\")] | any" \
        "the paused agent rejoined the run"
    holds '[.agents[].sessions[] | select(.lost)] | length == 3' "no other agent was lost"
    in_compose rm --force --stop coordinator agent >/dev/null 2>&1
}

# The database restarts during the run: queries in flight fail and are counted as failed, and all other rows complete.
restarted() {
    make_workload
    run_detached
    docker restart "$(containers db)" >/dev/null
    expect_exit 14 "$(exit_code)"

    docker logs "$coordinator" >"$work/restarted.log" 2>&1
    read_report "$(run_in "$work/restarted.log")"
    check_counts "$rows"
    holds '.queries | .unaccounted == 0 and .failed > 0' "rows in flight failed, and no row is unaccounted"
    # One query in flight on each connection, and one more that finds the connection dead.
    holds '.queries.failed <= 20' "at most the rows in flight failed"
    holds '[.agents[].sessions[] | select(.lost)] | length == 0' "no agent was lost"
    in_compose rm --force --stop coordinator agent >/dev/null 2>&1
}

rows=5000

# Numbered rows of 25 ms each, which take ten workers about 12 s. The statement only reads, and each row has a different result.
make_workload() {
    mkdir -p "$work/data"
    awk -v rows="$rows" 'BEGIN { print "hostname,row,pause"; for (i = 0; i < rows; i++) printf "host%02d,%d,0.025\n", i % 50, i }' \
        >"$work/data/pause.csv"
    echo "SELECT :hostname::text, :row::int FROM pg_sleep(:pause::float8)" >"$work/data/pause.sql"
    export MUSTER_DATA=$work/data
}

# Starts a run with ten agents and returns while it is running. It is detached because an attached `up` stops everything when one agent
# ends. The agents start first, because on a busy machine the run could end before compose reports that all containers are up.
run_detached() {
    export AGENTS=10
    in_compose up -d --scale agent=10 agent >>"$work/up.log" 2>&1
    mapfile -t agents < <(containers agent)
    RUN_ARGS="--placement balanced --allow-void --query data/pause.sql $* data/pause.csv" \
        in_compose up -d coordinator >>"$work/up.log" 2>&1
    coordinator=$(containers coordinator)
    local database deadline=$((SECONDS + start_seconds_max))
    database=$(containers db)
    until [ "$(queries_running "$database")" -gt 0 ]; do
        [ "$SECONDS" -lt "$deadline" ] || { docker logs "$coordinator"; problem "the run did not start within $start_seconds_max s"; }
        sleep 0.2
    done
    sleep 1
}

# The ids of a service's containers. `docker ps` is used because compose takes seconds to list them.
containers() {
    docker ps -q --no-trunc --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.service=$1"
}

queries_running() {
    docker exec "$1" psql -U muster -Atc \
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name LIKE 'muster:%'"
}

# Waits for the coordinator to exit and prints its exit code.
exit_code() {
    timeout "$run_seconds_max" docker wait "$coordinator" || echo "none within $run_seconds_max s"
}

# The id of the run whose report is in a log.
run_in() {
    grep -oE '(VALID|DEGRADED|VOID) +run [0-9a-z-]+' "$1" | awk '{ print $3 }' | tail -n 1 | grep . ||
        problem "no report found in $1"
}

# A reader has to consume all of the output: docker-compose fails if the pipe is closed early, as `grep -q` does.
one_off() {
    timeout "$run_seconds_max" "${compose[@]}" --project-name "$project" run -T --rm coordinator "$@" 2>>"$work/one-off.log"
}

# Extracts a stored run from the volume: the report to $work/report.json, and one line per row to $work/samples.csv.
read_report() {
    rm -f "$work"/{report.json,samples.csv}
    in_compose run -T --rm --no-deps --entrypoint sh coordinator -ec \
        "coordinator report $1 --output json=/tmp/report.json --samples /tmp/samples.csv && tar -C /tmp -c report.json samples.csv" \
        2>>"$work/one-off.log" | tar -C "$work" -x
    jq -r '"run \(.run_id): \(.verdict.status), \(.queries.total) rows = \(.queries.completed) completed + \(.queries.failed) failed + " +
        "\(.queries.unaccounted) unaccounted, \(.queries.retried) retried, \(.queries.duplicates) duplicate, " +
        "\(.wall_time_ms / 1000 | round) s"' "$work/report.json"
}

# Checks that every row is counted once or listed as unaccounted: in the totals, per worker, per host, and per row.
check_counts() {
    holds ".queries.total == $1" "the report is about all $1 rows"
    holds '.queries | .completed + .failed + .unaccounted == .total' "completed + failed + unaccounted = rows"
    holds '([.queries.unaccounted_rows[] | .[1] - .[0] + 1] | add // 0) == .queries.unaccounted' "all unaccounted rows are listed"
    holds '([.workers[] | .completed + .failed] | add) == (.queries | .completed + .failed)' "workers' rows add up"
    holds '([.hosts[] | .completed + .failed] | add) == (.queries | .completed + .failed)' "hosts' rows add up"
    local lines distinct
    lines=$(rows_in_samples | wc -l)
    distinct=$(rows_in_samples | sort -u | wc -l)
    holds ".queries | .completed + .failed == $lines and $lines == $distinct" "each row has one sample ($lines, $distinct of them different)"
}

rows_in_samples() {
    awk -F, 'NR == 1 { for (i = 1; i <= NF; i++) if ($i == "row") row = i; next } { print $row }' "$work/samples.csv"
}

holds() {
    if ! jq -e "$1" "$work/report.json" >/dev/null; then
        jq -c '{queries, verdict, errors, agents: [.agents[] | {slot, name, lost, sessions}], events: [.events[].what]}' "$work/report.json"
        problem "expected: $2: $1"
    fi
}

expect_exit() {
    [ "$1" = "$2" ] || problem "exit code $2; docs/guide/failures.md documents $1"
}

# Checks that the containers are restricted as docker-compose.yml specifies.
hardened() {
    # The containers have exited, so Compose v2 lists them only with -a.
    in_compose ps -a -q coordinator agent | xargs docker inspect >"$work/containers.json"
    jq -e 'all(.[]; .HostConfig.ReadonlyRootfs and .HostConfig.CapDrop == ["ALL"] and .Config.User == "10001"
            and ((.HostConfig.PortBindings // {}) == {}) and (.Config.Cmd | index("--insecure") == null))' \
        "$work/containers.json" >/dev/null || problem "a container runs as root, has a writable root file system, or has a capability or a published port"
    jq -e 'all(.[] | select(.Config.Labels["com.docker.compose.service"] == "agent") | .Mounts | map(select(.Type == "volume"));
            length == 1 and .[0].RW == false and .[0].Destination == "/var/lib/muster/join")' \
        "$work/containers.json" >/dev/null || problem "an agent has a volume other than the join string, or can write it"
}

main "$@"
