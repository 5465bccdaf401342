#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# run_sanitized.sh asan|tsan: the unit tests and the scenarios marked `sanitized`
# against a build with that sanitizer.  A daemon's report does not reach the test
# that started it, so reports are written to files and every file is a failure.
set -u
cd "$(dirname "$0")/.." || exit 1
variant=$1
case $variant in
asan | tsan) ;;
*)
	echo "usage: run_sanitized.sh asan|tsan" >&2
	exit 64
	;;
esac
sh tests/deps.sh || exit 1

top=$PWD
out=$top/build/$variant
reports=$out/reports
log=$out/run.log
rm -rf "$reports"
mkdir -p "$reports"
chmod 1777 "$reports" # a daemon may run as another user than this script

export ASAN_OPTIONS="log_path=$reports/asan:detect_stack_use_after_return=1:strict_string_checks=1:\
detect_leaks=1:abort_on_error=0:exitcode=99"
export UBSAN_OPTIONS="log_path=$reports/ubsan:print_stacktrace=1:halt_on_error=1:exitcode=99"
export TSAN_OPTIONS="log_path=$reports/tsan:second_deadlock_stack=1:history_size=4:exitcode=99:\
suppressions=$top/tests/tsan.supp"

make -s -j2 "VARIANT=$variant" "build/$variant/homeward" || exit 1
make -s -j2 "VARIANT=$variant" unit 2>&1 | tee "$log"
unit=$(grep '^unit: ' "$log" | tail -n 1) # make's own word about a failure follows it
passed=$(echo "$unit" | sed -n 's/.* \([0-9]*\) passed.*/\1/p')
failed=$(echo "$unit" | sed -n 's/.* \([0-9]*\) failed.*/\1/p')
passed=${passed:-0}
failed=${failed:-1} # no summary: it did not even build
skipped=0

if [ -d tests/scenarios ]; then
	HOMEWARD=$out/homeward HOMEWARD_VARIANT=$variant HOMEWARD_TEST_SCRATCH=$(sh tests/scratch.sh 6000000) \
		/usr/bin/python3 -m pytest -q -n 2 --dist loadfile -m sanitized tests/scenarios >"$log" 2>&1
	status=$?
	tail -n 60 "$log"
	summary=$(grep -E '[0-9]+ (passed|failed|error)' "$log" | tail -n 1)
	number() {
		found=$(echo "$summary" | grep -oE "[0-9]+ $1" | head -n 1 | cut -d ' ' -f 1)
		echo "${found:-0}"
	}
	passed=$((passed + $(number passed)))
	bad=$(($(number failed) + $(number error)))
	skipped=$(number skipped)
	# 5: nothing is marked for this build.
	[ "$status" = 0 ] || [ "$status" = 5 ] || [ "$bad" != 0 ] || bad=1
	failed=$((failed + bad))
fi

for report in "$reports"/*; do
	[ -s "$report" ] || continue
	failed=$((failed + 1))
	echo "$variant report: $report"
	head -n 60 "$report"
done
echo "$variant: $passed passed, $failed failed, $skipped skipped"
[ "$failed" = 0 ]
