#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# make test: everything, from a clean checkout on a new machine, as CI runs it.
# Every step runs, also after one has failed, and the last line sums them up alone on
# a line: "N passed, N failed" or "N passed, N failed, N skipped".
set -uo pipefail
cd "$(dirname "$0")/.." || exit 1
exec </dev/null
logs=build/test
mkdir -p "$logs"
passed=0
failed=0
skipped=0
started=$SECONDS

# count WORD FILE: the number before WORD in the last summary line of the file.
count() {
	local number
	number=$(grep -E '[0-9]+ (passed|failed|skipped|errors?|deselected)' "$2" | tail -n 1 |
		grep -oE "[0-9]+ $1" | head -n 1 | cut -d ' ' -f 1)
	echo "${number:-0}"
}

# step NAME SECONDS COMMAND…: a command without a summary line of its own counts as one.
step() {
	local name=$1 limit=$2 status=0 before=$failed
	shift 2
	printf '\n== %s\n' "$name"
	timeout --kill-after=30 "$limit" "$@" 2>&1 | tee "$logs/$name.log" || status=$?
	if grep -qE '^.*[0-9]+ (passed|failed)' "$logs/$name.log"; then
		passed=$((passed + $(count passed "$logs/$name.log")))
		failed=$((failed + $(count failed "$logs/$name.log") + $(count 'errors?' "$logs/$name.log")))
		skipped=$((skipped + $(count skipped "$logs/$name.log")))
	elif [ "$status" = 0 ]; then
		passed=$((passed + 1))
	fi
	if [ "$status" != 0 ] && [ "$failed" = "$before" ]; then
		failed=$((failed + 1))
		echo "$name: ended with status $status"
	fi
}

step deps 900 sh tests/deps.sh
step build 600 make -s -j2 all
step unit 600 make -s -j2 unit
step lint 300 make -s lint
step scenarios 1500 make -s scenarios
step clients 600 make -s clients
step asan 1200 sh tests/run_sanitized.sh asan
step tsan 1200 sh tests/run_sanitized.sh tsan

printf '\n%d s; logs in %s\n' $((SECONDS - started)) "$logs"
if [ "$skipped" = 0 ]; then
	echo "$passed passed, $failed failed"
else
	echo "$passed passed, $failed failed, $skipped skipped"
fi
[ "$failed" = 0 ]
