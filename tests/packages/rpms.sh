# The RPM packages: installed for real on the throwaway machine, with a package database of their own. Sourced by run.sh.
# shellcheck shell=bash

readonly rpms=$packages/rpm
mapfile -t rpm_files < <(find "$rpms" -name '*.rpm' | sort)

its_scripts_hold_what_they_must() {
    local scripts
    scripts=$(rpm --query --package --scripts "$rpms"/beffroi-agent-[0-9]*.rpm)
    grep -q 'systemd-sysusers beffroi-agent.conf' <<<"$scripts"
    grep -q 'systemd-tmpfiles --create beffroi-agent.conf' <<<"$scripts"
    scripts=$(rpm --query --package --scripts "$rpms"/beffroi-collector-[0-9]*.rpm)
    grep -q 'systemd-sysusers beffroi-collector.conf' <<<"$scripts"
    # The administrator decides when a collector starts.
    if grep -E 'systemctl (enable|start)' <<<"$scripts"; then return 1; fi
}

configurations_are_marked() {
    [ "$(rpm --query --package --configfiles "$rpms"/beffroi-agent-[0-9]*.rpm)" = /etc/beffroi/agent.toml ]
    [ "$(rpm --query --package --configfiles "$rpms"/beffroi-collector-[0-9]*.rpm)" = /etc/beffroi/collector.toml ]
}

# Both formats come from one staging tree: the programs are the same.
programs_are_those_of_the_debian_packages() {
    local name
    mkdir -p "$scratch/from-rpm" "$scratch/from-deb"
    for name in beffroi-agent beffroi-collector beffroi; do
        (cd "$scratch/from-rpm" && rpm2cpio "$rpms/$name"-[0-9]*.rpm | cpio --extract --make-directories --quiet)
        dpkg-deb --extract "$packages/deb/$name"_*.deb "$scratch/from-deb"
    done
    diff -r "$scratch/from-rpm/usr/bin" "$scratch/from-deb/usr/bin"
    diff -r "$scratch/from-rpm/usr/lib/beffroi" "$scratch/from-deb/usr/lib/beffroi"
    diff -r "$scratch/from-rpm/etc" "$scratch/from-deb/etc"
}

# RHEL 9 and its kin have glibc 2.34.
they_need_no_newer_glibc_than_2_34() {
    local newest
    newest=$(rpm --query --package --requires "${rpm_files[@]}" | sed -n 's/.*(GLIBC_\([0-9.]*\)).*/\1/p' | sort -V | tail -n 1)
    echo "newest: $newest"
    [ "$(printf '%s\n2.34\n' "$newest" | sort -V | tail -n 1)" = 2.34 ]
}

# --nodeps: the libraries are Debian's here; what is required is checked above.
rpm_in_machine() { machine rpm --force-debian --dbpath /tmp/rpmdb --nodeps "$@"; }
rpm_installs() { rpm_in_machine --install "${rpm_files[@]/#$rpms//tmp/shared}"; }
rpm_erases() { rpm_in_machine --erase beffroi beffroi-agent beffroi-collector beffroi-clickhouse-engine; }
# As is the custom there: state and users stay, files do not. The two folders below belong to the system's own packages.
only_state_and_users_are_left() {
    diff "$scratch/rpm-before" "$scratch/rpm-after" | sed -n 's/^[<>] .* //p' |
        grep -vxE 'usr/share/(licenses|zsh/site-functions)|etc/(passwd|group|shadow|gshadow|subuid|subgid)|(etc/beffroi/(agent|collector)\.toml\.rpmsave|etc/beffroi)' |
        grep -vE '^var/lib/beffroi(-agent)?(/|$)' >"$scratch/rpm-left" || true
    cat "$scratch/rpm-left"
    [ ! -s "$scratch/rpm-left" ]
}

check "there are four RPM packages" test "${#rpm_files[@]}" -eq 4
check "their scripts hold what they must" its_scripts_hold_what_they_must
check "configurations are marked" configurations_are_marked
check "programs are those of the Debian packages" programs_are_those_of_the_debian_packages
check "they need no newer glibc than 2.34" they_need_no_newer_glibc_than_2_34

. "$here/life.sh"
machine_start "$rpms"
machine_tree >"$scratch/rpm-before"
check "rpm installs them" rpm_installs
the_life_of_an_installation
check "everything stops in order (RPM)" step everything_stops_in_order
check "rpm erases them" rpm_erases
machine_tree >"$scratch/rpm-after"
check "an erasure leaves state and users only" only_state_and_users_are_left
machine_stop
