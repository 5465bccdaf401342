#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# make clients: typed libraries from schemas/ in build/clients/, each compiled or linted and sent there and
# back over the golden examples; and docs/asyncapi.yaml linted.  The tools come from npm: without a network
# this is skipped, but not where CI is set.
# shellcheck disable=SC2086,SC2317 # folders of our own without spaces; functions called by name
set -uo pipefail
cd "$(dirname "$0")/../.." || exit 1
here=tests/clients
out=build/clients
passed=0
failed=0
mkdir -p $out

finish() {
	echo "clients: $passed passed, $failed failed${1:-}"
	[ "$failed" = 0 ]
	exit
}

# The tools of package-lock.json, once.
if ! cmp -s $here/package-lock.json $out/installed; then
	cp $here/package.json $here/package-lock.json $out/
	if ! (cd $out && timeout 240 npm ci --ignore-scripts --no-audit --no-fund --prefer-offline) >$out/npm.log 2>&1; then
		tail -5 $out/npm.log
		echo "clients: npm could not install the tools, see $out/npm.log"
		if [ -n "${CI:-}" ]; then
			failed=1
			finish
		fi
		finish ", 1 skipped"
	fi
	cp $here/package-lock.json $out/installed
fi
tools=$out/node_modules/.bin

rm -rf $out/made
mkdir -p $out/made
cp $here/generate.mjs $out/
if ! node $out/generate.mjs schemas $out/made; then
	failed=1
	finish
fi
/usr/bin/python3 $here/golden.py write schemas >$out/golden.any
/usr/bin/python3 $here/golden.py write schemas --no-any >$out/golden.typed

# back NAME GOLDEN COMMAND…: what the command makes of the golden events is them again.
back() {
	local name=$1 golden=$2
	shift 2
	"$@" <"$golden" >"$out/$name.came" && /usr/bin/python3 $here/golden.py compare "$golden" "$out/$name.came"
}

in_typescript() {
	cp $here/roundtrip.ts $out/made/typescript/
	$tools/tsc --strict --target es2020 --module commonjs --types node --typeRoots $out/node_modules/@types \
		--outDir $out/made/typescript/js $out/made/typescript/roundtrip.ts &&
		back typescript $out/golden.any node $out/made/typescript/js/roundtrip.js
}

in_python() {
	cp $here/roundtrip.py $out/made/python/
	/usr/bin/python3 -m py_compile $out/made/python/events.py &&
		mypy --no-error-summary --cache-dir $out/mypy $out/made/python/events.py $out/made/python/roundtrip.py &&
		back python $out/golden.any /usr/bin/python3 $out/made/python/roundtrip.py
}

in_php() {
	php -l $out/made/php/events.php && back php $out/golden.typed php $here/roundtrip.php $out/made/php/events.php
}

in_kotlin() {
	local gson=/usr/share/java/gson.jar
	kotlinc -nowarn -cp $gson -d $out/made/kotlin/events.jar $out/made/kotlin/Events.kt $here/*.kt &&
		back kotlin $out/golden.any java -Xshare:auto -cp $out/made/kotlin/events.jar:$gson:/usr/share/java/kotlin-stdlib.jar \
			dev.homeward.roundtrip.RoundtripKt
}

in_c() {
	gcc -std=c11 -D_GNU_SOURCE -Wall -O1 -I/usr/include/cjson -I$here -I$out/made/cjson -o $out/made/cjson/roundtrip \
		$here/roundtrip.c -lcjson && back c $out/golden.typed $out/made/cjson/roundtrip
}

in_asyncapi() {
	$tools/spectral lint --ruleset $here/spectral.yaml --fail-severity=warn docs/asyncapi.yaml
}

# All at once; each one's words are shown only when it failed.
declare -A pids
parts="typescript python php kotlin c asyncapi"
for part in $parts; do
	"in_$part" >"$out/$part.log" 2>&1 &
	pids[$part]=$!
done
for part in $parts; do
	if wait "${pids[$part]}"; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "clients: $part"
		head -40 "$out/$part.log"
	fi
done
finish
