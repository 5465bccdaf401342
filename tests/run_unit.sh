#!/bin/sh
# Runs unit test programs, shows the output of those that fail, ends with one line.
set -u
passed=0
failed=0
for program in "$@"; do
	if output=$(timeout 120 "$program" 2>&1); then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf '%s\n%s\n' "FAILED $program" "$output"
	fi
done
echo "unit: $passed passed, $failed failed"
[ "$failed" = 0 ]
