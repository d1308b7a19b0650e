#!/usr/bin/env bash
# Downloads a Debian package into the current directory, from this machine's release or from another one:
#
#   deploy/debian-package.sh NAME [RELEASE]
#
# Nothing is installed, and apt's package lists on this machine are not changed: lists are fetched into a temporary directory. The mirror
# is the one that apt uses on this machine.
set -euo pipefail

# shellcheck source=/dev/null
. /etc/os-release
name=$1 release=${2:-$VERSION_CODENAME}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# shellcheck disable=SC2016 # apt-get expands these.
mirror=$(apt-get indextargets --format '$(REPO_URI) $(RELEASE) $(COMPONENT) $(CREATED_BY)' |
    awk -v release="$VERSION_CODENAME" '$2 == release && $3 == "main" && $4 == "Packages" { print $1; exit }')
[ -n "$mirror" ] || { echo "apt has no mirror for $VERSION_CODENAME" >&2; exit 1; }

mkdir -p "$work"/lists/partial "$work"/cache/archives/partial
echo "deb $mirror $release main" >"$work/sources.list"
apt=(apt-get -qq -o Dir::State::Lists="$work/lists" -o Dir::Cache="$work/cache" -o Dir::Etc::SourceList="$work/sources.list"
    -o Dir::Etc::SourceParts=/dev/null -o Dir::Etc::Preferences=/dev/null -o Dir::Etc::PreferencesParts=/dev/null
    -o Acquire::Languages=none -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false -o APT::Sandbox::User=root
    -o Acquire::Retries=2 -o Acquire::http::Timeout=20 -o Acquire::https::Timeout=20)
"${apt[@]}" update
"${apt[@]}" download "$name"
