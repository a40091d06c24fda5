#!/usr/bin/env bash
# Servers are installed, configured by their packages and upgraded; a package is built from source, installed and removed.
. "$(dirname "$0")/common.sh"

did "apt update" apt-get -q update
install nginx
install mariadb-server
install postgresql
install openssh-server rsyslog
install default-jre-headless
install build-essential devscripts fakeroot
sed -i 's/^Types: deb$/Types: deb deb-src/' /etc/apt/sources.list.d/*.sources 2>/dev/null
sed -i 's/^deb \(.*\)$/deb \1\ndeb-src \1/' /etc/apt/sources.list
did "apt update with sources" apt-get -q update
build() {
    mkdir -p /usr/src/build && cd /usr/src/build &&
        apt-get -q -y build-dep hello && apt-get -q source hello && cd hello-*/ && dpkg-buildpackage -b -us -uc && cd .. && dpkg -i ./hello_*.deb && hello
}
export -f build
did "build the package hello" bash -c build
did "upgrade everything" apt-get -q -y dist-upgrade
did "remove a package" apt-get -q -y purge hello
did "remove what is not needed" apt-get -q -y autoremove
did "reinstall" apt-get -q -y --reinstall install openssh-server nginx
did "verify" dpkg -V
