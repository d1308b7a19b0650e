#!/usr/bin/env bash
# Brings docker-compose.yml up as it is, breaks what breaks between containers, and holds each run against its own books and the
# exit code that the README documents. `.ci/run` calls it, and `just check-compose`; with names, those cases alone:
#
#   deploy/check-compose.sh sample killed restarted
#
# The image is the last stage of deploy/Dockerfile with the programs that cargo builds here, in debug, or those in the directory that
# MUSTER_BIN names: to compile them once more in a container takes longer than all of this. `just image` builds the whole Dockerfile.
#
# Only what this makes is touched, under a project of its own, and all of it is removed; what stays are images, for the next time:
# muster-check, and those of deploy/offline-images.sh where they had to be made. It needs docker, jq, and docker-compose or Compose v2;
# of several, COMPOSE names the one to use: COMPOSE=docker-compose, COMPOSE="docker compose", or a path.
set -euo pipefail
cd "$(dirname "$0")/.."

cases=(sample killed restarted)
# Far above the seconds that each of these takes; what hangs is ended.
run_seconds_max=120
start_seconds_max=90
build_seconds_max=900

project=muster-check-$$

main() {
    [ $# -eq 0 ] || cases=("$@")
    # The database that runs where there is no other, and a base that is this distribution, for programs that are built here.
    export MUSTER_IMAGE=muster-check MUSTER_DB_IMAGE=${MUSTER_DB_IMAGE:-muster-postgres} BASE_RUNTIME=${BASE_RUNTIME:-muster-base-debian}
    find_tools
    work=$(mktemp -d)
    trap clean_up EXIT
    # Containers read from there as a user of their own.
    chmod 755 "$work"
    # What this machine cannot make says nothing of what is tested.
    base_images || skip "a Docker engine that cannot make or start the base images, for the reason above"
    step "context" context
    step "image" image
    local name
    for name in "${cases[@]}"; do
        step "$name" attempt "$name"
    done
    echo "-- all passed in $SECONDS s"
}

# What cannot run here is no failure, and is said.
find_tools() {
    # A client without a server fails, and with one that hangs it would hang.
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
        skip "no images $BASE_RUNTIME and $MUSTER_DB_IMAGE, and to make them deploy/offline-images.sh needs root, and debootstrap or apt-get"
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
    # Not `"$@" || …`: bash would ignore `set -e` in all that it calls.
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

# A case strikes in the middle of a run, which a busy machine may have reached the end of: it is tried once more, and that is said.
attempt() {
    local status
    set +e
    (set -e; "$1")
    status=$?
    set -e
    if [ "$status" -ne 0 ]; then
        echo "-- $1: $(cat "$work/problem" 2>/dev/null || echo "went wrong, see above"); once more"
        rm -f "$work/problem"
        docker ps -q --filter "label=com.docker.compose.project=$project" --filter status=paused | xargs -r docker unpause >/dev/null
        in_compose rm --force --stop coordinator agent >/dev/null 2>&1
        "$1"
    fi
}

# What is wrong, for the last line.
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

# What the whole Dockerfile copies is there for it: .dockerignore may leave it out.
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
    # The stage as it is, only that what it copies comes from here.
    # shellcheck disable=SC2016 # It is the Dockerfile's.
    {
        grep '^ARG BASE_RUNTIME=' deploy/Dockerfile
        sed -n '/^FROM ${BASE_RUNTIME} AS runtime$/,$ s/ --from=build / /; /^FROM ${BASE_RUNTIME} AS runtime$/,$ p' deploy/Dockerfile
    } >"$context/Dockerfile"
    grep -q '^USER 10001$' "$context/Dockerfile" || problem "deploy/Dockerfile has no stage 'runtime' any more"
    timeout "$build_seconds_max" docker build -q -t "$MUSTER_IMAGE" --build-arg BASE_RUNTIME="$BASE_RUNTIME" "$context" 2>"$work/image.log"
    rm -r "$context"
}

# Ten containers run the sample to its end, by the commands that the file's header names.
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
    books 200
    holds '.queries | .completed == .total and .failed == 0' "every query of the sample completes"
    holds '[.agents[].name] | unique | length == 10' "ten containers took part"
    one_off run --local --agents 10 --allow-void --quiet - <data/query_params.csv | grep -F '200 completed' >/dev/null ||
        problem "a run of rows from standard input reports no 200 rows"
    one_off runs | grep -F "$run" >/dev/null || problem "'runs' does not list run $run, which its volume keeps"
    hardened
}

# In mid-run one agent is killed, one stands still for longer than its lease, one loses the network for good.
killed() {
    make_workload
    local undisturbed
    undisturbed=$(one_off run --local --agents 4 --workers 10 --allow-void --no-run-dir --quiet --output json \
        --query data/pause.sql data/pause.csv | jq -r .result.digest)

    # Long enough for the one that is paused to come back to its place.
    run_detached --slot-grace 8s
    docker kill "${agents[0]}" >/dev/null
    docker pause "${agents[1]}" >/dev/null
    docker network disconnect "${project}_default" "${agents[2]}"
    sleep 6
    docker unpause "${agents[1]}" >/dev/null
    expect_exit 0 "$(exit_code)"

    docker logs "$coordinator" >"$work/killed.log" 2>&1
    read_report "$(run_in "$work/killed.log")"
    books "$rows"
    holds ".queries.completed == $rows" "every row was run in the end"
    holds ".result.digest == \"$undisturbed\"" "the answers are those of an undisturbed run"
    holds '.verdict.status != "VALID" and (.verdict.causes | index("agent_lost") != null)' "the verdict says that agents were lost"
    local agent
    for agent in "${agents[@]:0:3}"; do
        # A container's host name is the beginning of its id.
        holds "[.agents[].sessions[] | select(.lost) | .name | startswith(\"${agent:0:12}/\")] | any" \
            "agent ${agent:0:12} was lost, and the report says so"
    done
    holds "[.agents[].sessions[] | select(.lost == null) | .name | startswith(\"${agents[1]:0:12}/\")] | any" \
        "the agent that stood still took part again"
    holds '[.agents[].sessions[] | select(.lost)] | length == 3' "no other agent was lost"
    in_compose rm --force --stop coordinator agent >/dev/null 2>&1
}

# The database restarts in mid-run: what was in flight failed, is counted as that, and all else was run.
restarted() {
    make_workload
    run_detached
    docker restart "$(containers db)" >/dev/null
    expect_exit 14 "$(exit_code)"

    docker logs "$coordinator" >"$work/restarted.log" 2>&1
    read_report "$(run_in "$work/restarted.log")"
    books "$rows"
    holds '.queries | .unaccounted == 0 and .failed > 0' "rows in flight failed, none is missing"
    # One query in flight on each connection, and one more that finds the connection dead.
    holds '.queries.failed <= 20' "no more failed than were in flight"
    holds '[.agents[].sessions[] | select(.lost)] | length == 0' "no agent was lost"
    in_compose rm --force --stop coordinator agent >/dev/null 2>&1
}

rows=5000

# Rows that know who they are and take 25 ms: ten workers have 12 s to run them. The statement reads, and its answers differ.
make_workload() {
    mkdir -p "$work/data"
    awk -v rows="$rows" 'BEGIN { print "hostname,row,pause"; for (i = 0; i < rows; i++) printf "host%02d,%d,0.025\n", i % 50, i }' \
        >"$work/data/pause.csv"
    echo "SELECT :hostname::text, :row::int FROM pg_sleep(:pause::float8)" >"$work/data/pause.sql"
    export MUSTER_DATA=$work/data
}

# Starts a run with ten agents and leaves it in its middle. Not attached: `up` ends everything when one agent ends. Agents first, for on a
# busy machine the run could be over before compose has told that all are up.
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

# The ids of a service's containers; compose takes seconds to tell them.
containers() {
    docker ps -q --no-trunc --filter "label=com.docker.compose.project=$project" --filter "label=com.docker.compose.service=$1"
}

queries_running() {
    docker exec "$1" psql -U muster -Atc \
        "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep' AND application_name LIKE 'muster:%'"
}

# Of the coordinator, once it has ended.
exit_code() {
    timeout "$run_seconds_max" docker wait "$coordinator" || echo "no end after $run_seconds_max s"
}

# The id of the run whose report is in a log.
run_in() {
    grep -oE '(VALID|DEGRADED|VOID) +run [0-9a-z-]+' "$1" | awk '{ print $3 }' | tail -n 1 | grep . ||
        problem "there is no report in $1"
}

# Who reads its output reads all of it: docker-compose fails when a pipe is closed early, as `grep -q` does.
one_off() {
    timeout "$run_seconds_max" "${compose[@]}" --project-name "$project" run -T --rm coordinator "$@" 2>>"$work/one-off.log"
}

# What the volume keeps of a run: $work/report.json, and each row's line in $work/samples.csv.
read_report() {
    rm -f "$work"/{report.json,samples.csv}
    in_compose run -T --rm --no-deps --entrypoint sh coordinator -ec \
        "coordinator report $1 --output json=/tmp/report.json --samples /tmp/samples.csv && tar -C /tmp -c report.json samples.csv" \
        2>>"$work/one-off.log" | tar -C "$work" -x
    jq -r '"run \(.run_id): \(.verdict.status), \(.queries.total) rows = \(.queries.completed) completed + \(.queries.failed) failed + " +
        "\(.queries.unaccounted) unaccounted, \(.queries.retried) retried, \(.queries.duplicates) duplicate, " +
        "\(.wall_time_ms / 1000 | round) s"' "$work/report.json"
}

# Every row is counted once, or listed as not counted: by the totals, by workers, by hosts, and row by row.
books() {
    holds ".queries.total == $1" "the report is about all $1 rows"
    holds '.queries | .completed + .failed + .unaccounted == .total' "completed + failed + unaccounted = rows"
    holds '([.queries.unaccounted_rows[] | .[1] - .[0] + 1] | add // 0) == .queries.unaccounted' "what is unaccounted is listed"
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
        problem "not so: $2: $1"
    fi
}

expect_exit() {
    [ "$1" = "$2" ] || problem "exit code $2 where the README says $1"
}

# The containers of this project are as narrow as the file says.
hardened() {
    # They have ended, which Compose v2 shows only when it is asked for all.
    in_compose ps -a -q coordinator agent | xargs docker inspect >"$work/containers.json"
    jq -e 'all(.[]; .HostConfig.ReadonlyRootfs and .HostConfig.CapDrop == ["ALL"] and .Config.User == "10001"
            and ((.HostConfig.PortBindings // {}) == {}) and (.Config.Cmd | index("--insecure") == null))' \
        "$work/containers.json" >/dev/null || problem "a container is root, can write, has rights or a port"
    jq -e 'all(.[] | select(.Config.Labels["com.docker.compose.service"] == "agent") | .Mounts | map(select(.Type == "volume"));
            length == 1 and .[0].RW == false and .[0].Destination == "/var/lib/muster/join")' \
        "$work/containers.json" >/dev/null || problem "an agent has more than the join string, or may write it"
}

main "$@"
