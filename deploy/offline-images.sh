#!/usr/bin/env bash
# Builds the images that docker-compose.yml would pull, from Debian's packages and this machine's Rust toolchain, on a machine that
# cannot reach an image registry. Needs root, docker, and debootstrap or apt-get to fetch it with. Afterwards:
#
#   export BASE_BUILD=muster-base-rust BASE_RUNTIME=muster-base-debian MUSTER_DB_IMAGE=muster-postgres
#   docker-compose build
#
# Arguments select the images to build: `debian` (the base of the others), `rust`, `postgres`.
# The database is Debian's PostgreSQL; Debian has no TimescaleDB.
set -euo pipefail
cd "$(dirname "$0")"

[ $# -gt 0 ] || set -- debian rust postgres
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
# shellcheck source=/dev/null
. /etc/os-release

# The mirror that apt uses on this machine.
# shellcheck disable=SC2016 # apt-get expands these.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(CREATED_BY)' |
    awk -v release="$VERSION_CODENAME" '$2 == release && $3 == "main" && $4 == "Packages" { print $1; exit }')
[ -n "$mirror" ] || { echo "apt has no mirror for $VERSION_CODENAME; run apt-get update" >&2; exit 1; }

debian() {
    echo "muster-base-debian: $VERSION_CODENAME"
    find_debootstrap
    "$debootstrap" --variant=minbase "$VERSION_CODENAME" "$work/root" "$mirror" >"$work/log" 2>&1 ||
        { tail "$work/log" >&2; exit 1; }
    rm -rf "$work"/root/var/cache/apt/archives/*.deb "$work"/root/usr/share/{doc,man,locale}
    tar -C "$work/root" -c . | docker import - muster-base-debian >"$work/id"
}

# If debootstrap is not installed, it is extracted from its package. It is a script that finds its files through DEBOOTSTRAP_DIR.
find_debootstrap() {
    debootstrap=$(command -v debootstrap) && return
    local script=$PWD/debian-package.sh unpacked=$work/debootstrap
    mkdir "$unpacked"
    (cd "$unpacked" && "$script" debootstrap && dpkg-deb -x debootstrap_*.deb .) >"$work/log" 2>&1 ||
        { echo "debootstrap is not installed, and apt-get cannot fetch it:" >&2; tail -n 3 "$work/log" >&2; exit 1; }
    debootstrap=$unpacked/usr/sbin/debootstrap
    export DEBOOTSTRAP_DIR=$unpacked/usr/share/debootstrap
}

rust() {
    echo "muster-base-rust: $(rustc --version)"
    cat >"$work/Dockerfile" <<'END'
FROM muster-base-debian
RUN apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates gcc libc6-dev && \
    rm -rf /var/lib/apt/lists/*
COPY bin /usr/local/bin
COPY lib /usr/local/lib
# Behind a TLS-intercepting proxy, this machine's certificates include the proxy's authority. Only cargo uses them; the runtime image has
# Debian's authorities.
COPY ca-certificates.crt /etc/ssl/machine.crt
ENV CARGO_HTTP_CAINFO=/etc/ssl/machine.crt
END
    tar -C "$work" -c Dockerfile -C /etc/ssl/certs ca-certificates.crt -C "$(rustc --print sysroot)" bin/cargo bin/rustc bin/rustdoc lib | docker build -q -t muster-base-rust -
}

postgres() {
    echo "muster-postgres"
    docker build -q -t muster-postgres -f - . <<'END'
FROM muster-base-debian
RUN mkdir -p /etc/postgresql-common && echo 'create_main_cluster = false' > /etc/postgresql-common/createcluster.conf && \
    apt-get update && \
    apt-get install -y --no-install-recommends -o Dpkg::Options::=--force-confold postgresql && \
    ln -s /usr/lib/postgresql/*/bin/* /usr/local/bin/ && \
    rm -rf /var/lib/apt/lists/*
COPY offline-postgres.sh /usr/local/bin/
ENV PGDATA=/var/lib/postgresql/data
VOLUME /var/lib/postgresql/data
STOPSIGNAL SIGINT
ENTRYPOINT ["offline-postgres.sh"]
CMD ["postgres"]
END
}

for image in "$@"; do
    case $image in
        debian | rust | postgres) "$image" ;;
        *) echo "unknown image '$image'; use debian, rust or postgres" >&2; exit 2 ;;
    esac
done
