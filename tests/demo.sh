#!/bin/bash
# The story of a roaming driver on three regions, told with the real commands and
# their real output.  Every step is checked: when the output is not what the story
# says, the demo fails.  DATA=folder adds real sites and replays real sessions.
# shellcheck disable=SC2016 # commands are shown as typed; `run` expands them later
set -euo pipefail

homeward=${HOMEWARD:-build/release/homeward}
data=${DATA:-}
mesh=""
began=$SECONDS
bold=""
plain=""
if [ -t 1 ]; then
	bold=$'\033[1m'
	plain=$'\033[0m'
fi

finish() {
	status=$?
	trap - EXIT INT TERM
	if [ "$status" != 0 ] && [ -n "$mesh" ]; then
		for log in "$mesh"/*/homeward.log; do
			[ -f "$log" ] || continue
			printf -- '--- the end of %s ---\n' "$log"
			tail -n 20 "$log"
		done
	fi
	[ -z "$mesh" ] || "$homeward" dev down --dir "$mesh" || true
	rm -rf "$work"
	exit "$status"
}
work=$(mktemp -d /tmp/homeward-demo-XXXXXX)
trap finish EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

say() {
	printf '\n%s%s%s\n' "$bold" "$*" "$plain"
}

# Shows a command as it can be typed, runs it, shows and keeps its output.
output=""
run() {
	printf '$ %s\n' "$1"
	output=$(bash -o pipefail -c "$1") || fail "the command failed ($?): $output"
	printf '%s\n' "$output"
}

fail() {
	printf '\ndemo: the story is not true: %s\n' "$1" >&2
	exit 1
}

expect() {
	grep -Eq -- "$1" <<<"$output" || fail "${2:-expected $1}"
}

refuse() {
	! grep -Eq -- "$1" <<<"$output" || fail "${2:-did not expect $1}"
}

member() { # member FILE PATH…: one value out of a JSON file
	/usr/bin/python3 -c 'import json, sys
value = json.load(open(sys.argv[1]))
for key in sys.argv[2:]:
    value = value[key]
print(value)' "$@"
}

# A body or a header differs from lookup to lookup only in the ids that name the lookup.
without_ids() {
	sed -E 's/"(exchange|trace_id|instance)": *"[^"]*"/"\1":"…"/g'
}

# How often this region asked another, by its own count.
crossings() {
	curl -sS "$1/metrics" | awk '/^homeward_delegations_total/ { sum += $NF } END { print sum + 0 }'
}

say "Three regions, each with its own PostgreSQL, certificate, policy and drivers."
printf '$ homeward dev up --regions na,eu,ap\n'
"$homeward" dev up --regions na,eu,ap --engines 1 -o json >"$work/mesh.json"
mesh=$(member "$work/mesh.json" folder)
export PATH
PATH=$(dirname "$(readlink -f "$homeward")"):$PATH
export MESH=$mesh
EU=http://127.0.0.1:$(member "$work/mesh.json" regions eu api)
EU_ADMIN=http://127.0.0.1:$(member "$work/mesh.json" regions eu admin)
NA_ADMIN=http://127.0.0.1:$(member "$work/mesh.json" regions na admin)
CARD=04A20101B3C480    # a driver's at home in na
FRIEND=04A20102B3C480  # another's, at home in na as well
NOBODY=04FFFFFFFFFFFF  # nobody's
STATION='DE*HWD*E0001' # in eu
export EU EU_ADMIN NA_ADMIN CARD FRIEND NOBODY STATION
printf 'MESH=%s EU=%s CARD=%s STATION=%s\n' "$MESH" "$EU" "$CARD" "'$STATION'"
run 'homeward dev status --dir $MESH'

auth='-H "Authorization: Bearer $(cat $MESH/eu/tokens/cs-auth)"'
insights='-H "Authorization: Bearer $(cat $MESH/eu/tokens/insights)"'

say "1. A driver from na taps a card at a station in eu.  The charger asks eu; eu asks na; na permits."
run "curl -sS $auth -d '{\"id\":\"'\$CARD'\",\"station\":\"'\$STATION'\"}' \$EU/v1/authorize"
expect '"status": *"ALLOWED"' "the driver should be allowed"
expect '"home": *"na"'
expect '"source": *"home"' "the first tap should be answered by the card's home"

say "2. The same tap again: answered from eu's cache, because na's terms allow that for a while."
before=$(crossings "$EU_ADMIN")
run "curl -sS $auth -d '{\"id\":\"'\$CARD'\",\"station\":\"'\$STATION'\"}' \$EU/v1/authorize"
expect '"status": *"ALLOWED"'
expect '"source": *"cache"' "the second tap should be a cache hit"
[ "$(crossings "$EU_ADMIN")" = "$before" ] || fail "a cache hit crossed the border"
run "curl -sSi $auth \"\$EU/v1/objects/token/\$CARD?purpose=charge.authorize&station=\$STATION\" | grep -iE '^(HTTP|cache-status)|record'"
expect '[Cc]ache-[Ss]tatus: .*hit'
refuse 'driver_id' "who the driver is should not have crossed"

say "3. The same card for analytics.  The driver never agreed to that, so the answer is the one for no such card."
run "curl -sS $insights \"\$EU/v1/objects/token/\$CARD?purpose=analytics\""
expect '"code": *"not-available"'
denied=$(without_ids <<<"$output")
run "curl -sS $insights \"\$EU/v1/objects/token/\$NOBODY?purpose=analytics\"   # a card that does not exist"
expect '"code": *"not-available"'
[ "$denied" = "$(without_ids <<<"$output")" ] || fail "denied and unknown can be told apart"

say "4. A lookup for authorization with nobody at a station in eu: nothing says that the driver is here, so nothing is asked."
before=$(crossings "$EU_ADMIN")
run "curl -sS $auth \"\$EU/v1/objects/token/\$FRIEND?purpose=charge.authorize\""
expect '"code": *"not-available"'
run "curl -sS $auth \"\$EU/v1/objects/token/\$FRIEND?purpose=charge.authorize&station=US*HWD*E0001\"   # a station in na"
expect '"code": *"not-available"'
[ "$(crossings "$EU_ADMIN")" = "$before" ] || fail "a lookup without evidence left the region"

say "5. A card nobody knows: refused, and the question never left eu."
run 'curl -sS $EU_ADMIN/metrics | grep ^homeward_delegations_total'
before=$output
run "curl -sS $auth -d '{\"id\":\"'\$NOBODY'\",\"station\":\"'\$STATION'\"}' \$EU/v1/authorize"
expect '"status": *"NOT_ALLOWED"|"code": *"not-available"'
run 'curl -sS $EU_ADMIN/metrics | grep ^homeward_delegations_total'
[ "$output" = "$before" ] || fail "an unknown card crossed the border"

say "6. Each crossing is on record on both sides, under one exchange id; the card itself is not."
indexed() { # indexed REGION: waits until the database has found what the log holds
	i=0
	admin=http://127.0.0.1:$(member "$work/mesh.json" regions "$1" admin)
	until [ "$(psql -h "$MESH/$1/sock" -U homeward homeward -Atc 'SELECT next_index FROM homeward.log_positions')" = \
		"$(curl -sS "$admin/metrics" | sed -n 's/^homeward_access_log_durable_entries //p')" ]; do
		i=$((i + 1))
		[ "$i" -le 100 ] || fail "the index of $1 does not catch up with its log"
		sleep 0.1
	done
}
indexed eu
indexed na
columns="right(exchange::text, 12) AS exchange, kind, me, peer, purpose, decision, rules, fields"
run "psql -h \$MESH/eu/sock -U homeward homeward -c \"SELECT $columns FROM homeward.exchanges WHERE peer = 'na' ORDER BY seq\""
refuse "$CARD" "a card's id is in the access record"
run "psql -h \$MESH/na/sock -U homeward homeward -c \"SELECT $columns FROM homeward.exchanges WHERE peer = 'eu' ORDER BY seq\""
refuse "$CARD" "a card's id is in the access record"
paired() { # paired REGION: the crossings eu asked of it and those it has; they must be the same
	indexed eu
	indexed "$1"
	psql -h "$MESH/eu/sock" -U homeward homeward -Atc \
		"SELECT exchange FROM homeward.exchanges WHERE kind = 'ask' AND peer = '$1' ORDER BY 1" >"$work/asked"
	psql -h "$MESH/$1/sock" -U homeward homeward -Atc \
		"SELECT exchange FROM homeward.exchanges WHERE operation = 'serve' AND peer = 'eu' ORDER BY 1" >"$work/served"
	diff "$work/asked" "$work/served" >/dev/null || fail "the records of eu and $1 do not pair up"
	wc -l <"$work/asked"
}
pairs=$(paired na)
[ "$pairs" -ge 2 ] || fail "there should be at least two crossings on record, not $pairs"
printf '%s crossings from eu to na, each on record on both sides.\n' "$pairs"

if [ -x /usr/lib/rabbitmq/bin/rabbitmq-server ]; then
	say "7. The session ends in eu.  What it took travels to na, where the driver has the contract: one event, once."
	operator='-H "Authorization: Bearer $(cat $MESH/eu/tokens/operator)"'
	run 'homeward mesh status --links-only --mesh $MESH/brokers.json'
	event='{"specversion":"1.0","type":"session.completed","source":"/eu/sessions","id":"session-1","subject":"session-1","destination":"na",
  "data":{"session_id":"session-1","token_uid":"'$CARD'","station_id":"'$STATION'","started_at":"2026-11-21T08:00:00Z",
  "ended_at":"2026-11-21T08:40:00Z","end_reason":"driver","energy_wh":31870}}'
	run "curl -sS $operator -H 'Content-Type: application/cloudevents+json' -d '$event' \$EU/v1/events"
	expect '"id": *"session-1"'
	run "curl -sS $operator -H 'Content-Type: application/cloudevents+json' -d '$event' \$EU/v1/events   # sent twice by mistake"
	arrived="SELECT origin, type, id, event->'data'->>'energy_wh' AS energy_wh FROM homeward.inbox WHERE delivered_at IS NOT NULL"
	for attempt in $(seq 100); do
		[ -z "$(psql -h "$MESH/na/sock" -U homeward homeward -Atc "$arrived")" ] || break
		[ "$attempt" != 100 ] || fail "the event did not reach na"
		sleep 0.1
	done
	run "psql -h \$MESH/na/sock -U homeward homeward -c \"$arrived\""
	expect 'eu +\| session.completed +\| session-1 +\| 31870'
	expect '\(1 row\)' "the event should have arrived once"
	[ "$(psql -h "$MESH/ap/sock" -U homeward homeward -Atc 'SELECT count(*) FROM homeward.inbox')" = 0 ] || fail "ap saw an event for na"

	say "8. na blocks the card.  eu's copy, good for 15 minutes by na's terms, is forgotten, and the next tap is refused."
	NA=http://127.0.0.1:$(member "$work/mesh.json" regions na api)
	export NA
	blocked=$(psql -h "$MESH/na/sock" -U homeward homeward -Atc \
		"SELECT record || '{\"valid\": false}' FROM homeward.objects WHERE type = 'token' AND id = '$CARD'")
	run "curl -sS -X PUT -H \"Authorization: Bearer \$(cat \$MESH/na/tokens/operator)\" -H 'If-Match: \"1\"' -d '$blocked' \$NA/v1/objects/token/\$CARD"
	began_ms=$(date +%s%3N)
	for attempt in $(seq 100); do
		! curl -sS -H "Authorization: Bearer $(cat "$MESH/eu/tokens/cs-auth")" -d '{"id":"'"$CARD"'","station":"'"$STATION"'"}' \
			"$EU/v1/authorize" | grep -q '"BLOCKED"' || break
		[ "$attempt" != 100 ] || fail "eu did not forget its copy"
		sleep 0.02
	done
	forgotten_ms=$(($(date +%s%3N) - began_ms))
	run "curl -sS $auth -d '{\"id\":\"'\$CARD'\",\"station\":\"'\$STATION'\"}' \$EU/v1/authorize"
	expect '"status": *"BLOCKED"'
	printf '%s ms after na committed the change.\n' "$forgotten_ms"
fi

say "9. Somebody in eu asks a hundred times for a driver who never agreed.  na's operators are told, without the card."
printf '$ for n in {1..100}; do curl … "$EU/v1/objects/token/$CARD?purpose=analytics"; done\n'
for _ in $(seq 100); do
	printf 'url="%s/v1/objects/token/%s?purpose=analytics"\noutput="/dev/null"\n' "$EU" "$CARD"
done | curl -sS -H "Authorization: Bearer $(cat "$MESH/eu/tokens/insights")" -H 'Cache-Control: no-cache' -K -
run 'homeward events tail --once --type homeward.gate. --config $MESH/na/homeward.conf'
expect 'homeward.gate.denials peer=eu denied=100 window_s=60' "na should have said that eu is denied often"
refuse "$CARD" "a card's id is in what na says"

if [ -n "$data" ]; then
	for file in superchargers.json ail-stations.csv ail-sessions-2017.csv; do
		[ -f "$data/$file" ] || fail "DATA=$data has no $file"
	done
	DATA=$(readlink -f "$data")
	export DATA WORK=$work
	say "10. Real sites, spread over three regions, and a year of real sessions of 507 users, replayed in eu."
	for region in na eu ap; do
		export REGION=$region
		run 'homeward import $DATA/superchargers.json -c $MESH/'$region'/homeward.conf --type station --id locationId,id --region address.region --region-map "North America=na,Europe=eu,Asia Pacific=ap" --reject $WORK/sites-'$region'.rejected'
		run 'homeward import $DATA/ail-stations.csv -c $MESH/'$region'/homeward.conf --type station --id ChargingStationId --region-value eu'
		run 'homeward import $DATA/ail-sessions-2017.csv -c $MESH/'$region'/homeward.conf --type token --id UserId --region UserOperatorName --region-map "Emotì=eu,evpass=na,Green Motion=ap" --distinct --fields UserId --set valid=true --set restricted=no --reject $WORK/users-'$region'.rejected'
	done
	# Each daemon hears of new routes by NOTIFY; the replay begins when eu has them.
	wanted=$(psql -h "$MESH/eu/sock" -U homeward homeward -Atc 'SELECT generation FROM homeward.route_generation')
	for attempt in $(seq 100); do
		seen=$(curl -sS "$EU_ADMIN/metrics" | awk '/^homeward_route_table_generation/ { print $NF }')
		[ "${seen:-0}" != "$wanted" ] || break
		[ "$attempt" != 100 ] || fail "eu did not take the new routes (has ${seen:-none}, wants $wanted)"
		sleep 0.1
	done
	known_na=$(paired na)
	known_ap=$(paired ap)
	run 'homeward replay $DATA/ail-sessions-2017.csv --url $EU --token-file $MESH/eu/tokens/cs-auth --id UserId --station ChargingStationId --concurrency 32 --speed max'
	# What the file itself says: taps, those of nobody's users, and users by their home.
	read -r taps strangers users_na users_ap < <(/usr/bin/python3 -c 'import csv, sys
rows = list(csv.DictReader(open(sys.argv[1], newline="", encoding="utf-8")))
users = {row["UserId"]: row["UserOperatorName"] for row in rows}
count = list(users.values()).count
print(len(rows), sum(not row["UserOperatorName"] for row in rows), count("evpass"), count("Green Motion"))' \
		"$DATA/ail-sessions-2017.csv")
	expect "taps +all +$taps" "every tap should be answered"
	expect "ALLOWED +$((taps - strangers))\$" "every known user should be allowed"
	expect "NOT_ALLOWED +$strangers\$" "a stranger should be refused"
	new_na=$(($(paired na) - known_na))
	new_ap=$(($(paired ap) - known_ap))
	[ "$new_na $new_ap" = "$users_na $users_ap" ] ||
		fail "$users_na users of na and $users_ap of ap crossed $new_na and $new_ap times, not once each"
	printf '%s users of na and %s of ap crossed once each; every crossing is on record on both sides.\n' \
		"$new_na" "$new_ap"
fi

say "The mesh is taken down; nothing is left behind."
printf '$ homeward dev down\n'
"$homeward" dev down --dir "$mesh"
[ ! -e "$mesh" ] || fail "$mesh is still there"
mesh=""
printf '\nThe story is true (%s s).\n' "$((SECONDS - began))"
