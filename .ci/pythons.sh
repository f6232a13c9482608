#!/usr/bin/env bash
# Unpack Debian sid's CPython of each MINOR under DIR, and print the path of each
# interpreter. Nothing of the system changes.
#
#     pythons.sh DIR 3.14 3.15

set -euo pipefail

dir=$1
shift
mkdir -p "$dir"/{lists/partial,archives/partial,debs}
dir=$(cd "$dir" && pwd)

# The sources of this Debian, with sid in place of its release.
sed -E 's/^Suites:.*/Suites: sid/' /etc/apt/sources.list.d/debian.sources |
    awk 'BEGIN { RS = ""; ORS = "\n\n" } NR == 1' >"$dir/sid.sources"
options=(
    -qq
    -o APT::Sandbox::User=root
    -o Dir::Etc::SourceParts=/dev/null
    -o "Dir::Etc::SourceList=$dir/sid.sources"
    -o "Dir::State::Lists=$dir/lists"
    -o "Dir::Cache::Archives=$dir/archives"
)

for minor in "$@"; do
    root=$dir/$minor
    if [ ! -x "$root/usr/bin/python$minor" ]; then
        # The lists name versions that the mirror may no longer have.
        [ -n "${updated:-}" ] || apt-get "${options[@]}" update >&2
        updated=yes
        (
            cd "$dir/debs"
            apt-get "${options[@]}" download "python$minor" "python$minor-minimal" \
                "libpython$minor-stdlib" "libpython$minor-minimal" "python$minor-venv" >&2
        )
        mkdir -p "$root"
        for package in "$dir"/debs/*python"$minor"*.deb; do
            dpkg -x "$package" "$root"
        done
    fi
    echo "$root/usr/bin/python$minor"
done
