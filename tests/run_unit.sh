#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run_unit.sh PROGRAM…: runs unit test programs, two a processor at a time since many of
# them mostly wait, shows the output of those that fail, and ends with one line.
set -u
outputs=$(mktemp -d) || exit 1
trap 'rm -rf "$outputs"' EXIT
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
