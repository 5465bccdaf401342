#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# deps.sh [build|demo|clients]: installs the Debian packages that are missing: those homeward is built
# and run with; for the demo RabbitMQ too; without a word also those it is tested, linted and measured with; or
# those that `make clients` compiles the event libraries with.
set -eu
# util-linux has runuser and taskset, procps has pgrep.
wanted="gcc make pkg-config libc6-dev libmicrohttpd-dev libjansson-dev libpq-dev libcurl4-openssl-dev \
librabbitmq-dev libssl-dev libuv1-dev libgnutls28-dev libxxhash-dev uthash-dev libsmartcols-dev \
postgresql python3 python3-yaml ca-certificates curl procps util-linux"
[ "${1:-}" != demo ] || wanted="$wanted rabbitmq-server"
[ "${1:-}" = build ] || [ "${1:-}" = demo ] || wanted="$wanted git clang libclang-rt-14-dev llvm-14 libcmocka-dev openssl \
python3-pytest python3-pytest-xdist python3-pika rabbitmq-server python3-psycopg2 python3-requests python3-cryptography \
python3-jsonschema mosquitto-clients golang-go golang-golang-x-mod-dev clang-format cppcheck shellcheck nginx-light wrk"
if [ "${1:-}" = clients ]; then
	wanted="gcc libc6-dev libcjson-dev mypy php-cli kotlin libgoogle-gson-java"
	command -v node >/dev/null || wanted="$wanted nodejs"
	command -v npm >/dev/null || wanted="$wanted npm"
fi
# shellcheck disable=SC2086 # a list of package names, one word each
installed=" $(dpkg-query -W -f='${Package}:${Status}\n' $wanted 2>/dev/null | sed -n 's/:install ok installed$//p' | tr '\n' ' ')"
missing=""
for package in $wanted; do
	case $installed in *" $package "*) ;; *) missing="$missing $package" ;; esac
done
[ -n "$missing" ] || exit 0

sudo=""
if [ "$(id -u)" != 0 ]; then
	command -v sudo >/dev/null || { echo "deps: missing:$missing; run as root or install sudo" >&2; exit 69; }
	sudo=sudo
fi
echo "deps: installing$missing"
# No service is started: homeward runs private instances in folders of its own.
policy=/usr/sbin/policy-rc.d
made=no
if [ ! -e "$policy" ]; then
	printf '#!/bin/sh\nexit 101\n' | $sudo tee "$policy" >/dev/null
	$sudo chmod +x "$policy"
	made=yes
fi
status=0
$sudo apt-get update -q -o DPkg::Lock::Timeout=300 >/dev/null || status=$?
# A new file is not forced to the disk one by one, which is most of what installing takes; all is before this ends.  Who cuts
# the power within that minute installs again.
# shellcheck disable=SC2086 # a list of package names, one word each
[ "$status" != 0 ] || $sudo env DEBIAN_FRONTEND=noninteractive apt-get install -y -q --no-install-recommends \
	-o DPkg::Lock::Timeout=300 -o Dpkg::Options::=--force-unsafe-io $missing || status=$?
sync
[ "$made" = no ] || $sudo rm -f "$policy"
exit "$status"
