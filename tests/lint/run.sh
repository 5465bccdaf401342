#!/bin/sh
# SPDX-License-Identifier: Apache-2.0
# make lint: every check runs, also after one has failed; ends with one line that
# counts them.  Slow checks look only at files newer than their last success
# (stamps under build/lint); CI starts from a clean tree and so looks at all.
set -u
cd "$(dirname "$0")/../.." || exit 1
stamps=build/lint
mkdir -p $stamps build/cppcheck
passed=0
failed=0

# The project's own files, tracked or about to be.
files() {
	git ls-files --cached --others --exclude-standard -- "$@" 2>/dev/null | sort -u | while IFS= read -r file; do
		[ ! -f "$file" ] || echo "$file"
	done
}

c_files=$(files '*.c' '*.h')
python_files=$(files '*.py')
shell_files=$(files '*.sh' .ci/run)
pages=$(files '*.md')

# changed STAMP FILE…: those newer than the stamp.
changed() {
	stamp=$stamps/$1
	shift
	if [ -e "$stamp" ]; then
		find "$@" -maxdepth 0 -newer "$stamp"
	else
		printf '%s\n' "$@"
	fi
}

# check NAME COMMAND…
check() {
	name=$1
	shift
	if output=$("$@" 2>&1); then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		printf 'lint: %s\n%s\n' "$name" "$output" | head -60
	fi
}

# incremental NAME CONFIGURATION COMMAND FILES: the stamp is only touched on success, and
# a change of the check's own configuration starts over.
incremental() {
	name=$1
	configuration=$2
	command=$3
	list=$4
	[ -z "$(find "$configuration" -newer "$stamps/$name" 2>/dev/null)" ] || rm -f "$stamps/$name"
	touch "$stamps/$name.new"
	# shellcheck disable=SC2086 # a list of our own file names, which hold no spaces
	todo=$(changed "$name" $list)
	if [ -z "$todo" ]; then
		passed=$((passed + 1))
		rm -f "$stamps/$name.new"
		return
	fi
	before=$failed
	# shellcheck disable=SC2086
	check "$name" $command $todo
	if [ "$failed" = "$before" ]; then
		mv "$stamps/$name.new" "$stamps/$name"
	else
		rm -f "$stamps/$name.new"
	fi
}

# Whatever has changed, it looks at all of the program.
cppcheck_program() {
	# shellcheck disable=SC2086 # a list of our own file names, which hold no spaces
	cppcheck --enable=warning,performance,portability --std=c11 --quiet -j2 --cppcheck-build-dir=build/cppcheck \
		--inline-suppr --suppressions-list=tests/lint/cppcheck.txt --error-exitcode=1 -I. -D_GNU_SOURCE \
		--include=tests/lint/cppcheck.h \
		--template='{file}:{line}: {id}: {message}' $program_files
}

compile_with_clang() {
	make -s -j2 -o deps VARIANT=clang objects
}

python_compiles() {
	/usr/bin/python3 -c '
import sys
for name in sys.argv[1:]:
    compile(open(name, encoding="utf-8").read(), name, "exec")' "$@"
}

program_files=$(printf '%s\n' "$c_files" | grep '\.c$' | grep -v '^tests/')

check layers /usr/bin/python3 tests/lint/layers.py
check schemas /usr/bin/python3 tests/lint/schemas.py
incremental style tests/lint/style.py "/usr/bin/python3 tests/lint/style.py" "$c_files"
incremental format .clang-format "clang-format --dry-run -Werror" "$c_files"
# cppcheck has a cache of its own and must see all files, for what crosses them.
incremental cppcheck "tests/lint" cppcheck_program "$c_files"
check clang compile_with_clang
incremental shellcheck tests/lint/run.sh "shellcheck --severity=style" "$shell_files"
incremental python tests/lint/run.sh python_compiles "$python_files"
# shellcheck disable=SC2086 # all of them each time: a link breaks when the page it leads to changes
check pages /usr/bin/python3 tests/lint/pages.py $pages

echo "lint: $passed passed, $failed failed"
[ "$failed" = 0 ]
