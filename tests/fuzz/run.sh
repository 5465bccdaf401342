#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# make fuzz: libFuzzer on every parser, SECONDS_EACH (60) each, one after the other.
# Starts from tests/fuzz/seeds/NAME; what it finds on the way is kept in
# build/fuzz/corpus/NAME, an input that breaks in build/fuzz/broken.
# One target: sh tests/fuzz/run.sh settings
set -u
cd "$(dirname "$0")/../.." || exit 1
seconds=${SECONDS_EACH:-60}
if [ $# = 0 ]; then
	for source in tests/fuzz/fuzz_*.c; do
		name=${source##*/fuzz_}
		set -- "$@" "${name%.c}"
	done
fi
make -s -j2 VARIANT=fuzz fuzzers || exit 1
passed=0
failed=0
mkdir -p build/fuzz/broken
for name in "$@"; do
	corpus=build/fuzz/corpus/$name
	mkdir -p "$corpus"
	if build/fuzz/tests/fuzz/fuzz_"$name" -max_total_time="$seconds" -timeout=10 -rss_limit_mb=1024 -max_len=16384 \
		-artifact_prefix="build/fuzz/broken/$name-" -print_final_stats=0 \
		"$corpus" "tests/fuzz/seeds/$name" >"build/fuzz/$name.log" 2>&1; then
		passed=$((passed + 1))
		echo "$name: $(tail -n 1 "build/fuzz/$name.log")"
	else
		failed=$((failed + 1))
		echo "$name: FAILED"
		tail -n 40 "build/fuzz/$name.log"
	fi
done
echo "fuzz: $passed passed, $failed failed"
[ "$failed" = 0 ]
