#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run_unit.sh PROGRAM…: runs unit test programs, two a processor at a time since many of
# them mostly wait, shows the output of those that fail, and ends with one line.
set -u
outputs=$(mktemp -d) || exit 1
HOMEWARD_TEST_SCRATCH=$(sh "$(dirname "$0")/scratch.sh" 1000000)
export HOMEWARD_TEST_SCRATCH
cluster=$(mktemp -d -p "$HOMEWARD_TEST_SCRATCH") || exit 1
trap 'rm -rf "$outputs" "$cluster"' EXIT
trap 'exit 143' HUP INT TERM

# Those with a database take longest, so they begin first: build/VARIANT/X comes of X.c.
for program in "$@"; do
	source=${program#build/*/}.c
	if grep -qs 'support/postgres\.h' "$source"; then
		echo "$program" >>"$outputs/first"
	else
		echo "$program" >>"$outputs/then"
	fi
done
touch "$outputs/first" "$outputs/then"

# One PostgreSQL cluster for all of them to copy; not by root.  Whatever comes of it, they
# wait for the file `ready`, and make their own when there is nothing to copy.
make_cluster() {
	initdb=$(find /usr/lib/postgresql -name initdb 2>/dev/null | sort -V | tail -n 1)
	as_postgres=""
	if [ "$(id -u)" = 0 ]; then
		chown postgres "$cluster"
		as_postgres="setpriv --reuid=postgres --regid=postgres --clear-groups"
	fi
	# Without the databases that no test uses and with little log, it is copied in a tenth of the time.
	# shellcheck disable=SC2086 # nothing, or a command and its options
	(
		cd / && $as_postgres "$initdb" -N --wal-segsize=1 -A trust -U postgres -E UTF8 --locale=C -D "$cluster/data" &&
			printf '%s\n' "UPDATE pg_database SET datistemplate = false;" "DROP DATABASE template0;" "DROP DATABASE template1;" |
			$as_postgres "${initdb%/initdb}/postgres" --single -D "$cluster/data" postgres
	) >"$outputs/initdb" 2>&1 || rm -rf "$cluster/data"
	touch "$cluster/ready"
}
if [ -s "$outputs/first" ]; then
	make_cluster &
	export HOMEWARD_TEST_CLUSTER="$cluster"
fi

# Each leaves its output behind only when it fails.
# shellcheck disable=SC2016 # for the shell that xargs starts
cat "$outputs/first" "$outputs/then" | xargs -r -n 1 -P "$((2 * $(nproc)))" sh -c '
	output=$(mktemp "$0/run.XXXXXX") || exit 1
	timeout 120 "$1" >"$output" 2>&1 && rm "$output" && exit
	{ echo "FAILED $1"; cat "$output"; } >"$output.failed"
' "$outputs"

failed=0
for output in "$outputs"/*.failed; do
	[ -e "$output" ] || continue
	failed=$((failed + 1))
	cat "$output"
done
echo "unit: $(($# - failed)) passed, $failed failed"
[ "$failed" = 0 ]
