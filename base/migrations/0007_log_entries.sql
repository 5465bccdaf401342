-- The search index over the access log.  The log itself is files (docs/AUDIT.md); a follower copies what they say in here,
-- and `homeward audit reindex` makes all of it again.  An entry's place in the log and its row come in one transaction.
CREATE TABLE homeward.log_positions (
	id         smallint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	origin     text     NOT NULL UNIQUE,
	next_index bigint   NOT NULL DEFAULT 0	-- every entry before it has its row
);

-- What thousands of entries have in common.
CREATE TABLE homeward.log_contexts (
	id        int    GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	digest    text   NOT NULL UNIQUE,	-- of the columns below
	kind      text   NOT NULL,
	me        text   NOT NULL,
	peer      text   NOT NULL,
	type      text   NOT NULL,
	operation text   NOT NULL,
	purpose   text   NOT NULL,
	caller    text   NOT NULL,
	decision  text   NOT NULL,
	rules     text   NOT NULL,
	policy    text   NOT NULL,
	fields    text   NOT NULL,
	outcome   text   NOT NULL,
	ttl_s     bigint NOT NULL
);

CREATE TABLE homeward.log_entries (
	log         smallint    NOT NULL,	-- log_positions.id
	context     int         NOT NULL,	-- log_contexts.id
	log_index   bigint      NOT NULL,
	at          timestamptz NOT NULL,
	count       bigint,
	exchange    uuid,
	subject     text,
	record_hash bytea,
	message     text,
	PRIMARY KEY (log, log_index)
);
-- Times and exchange ids come in about their own order, and so do the entries of one context: these three grow at their end.
CREATE INDEX log_entries_at ON homeward.log_entries USING brin (at) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX log_entries_exchange ON homeward.log_entries USING brin (exchange) WITH (pages_per_range = 16, autosummarize = on);
CREATE INDEX log_entries_context ON homeward.log_entries (context, at);
CREATE INDEX log_entries_subject ON homeward.log_entries (subject) WHERE subject IS NOT NULL;

-- What was recorded before there was a log has negative numbers, and comes first.
DROP FUNCTION homeward.exchange_entries(uuid);
DROP VIEW homeward.exchanges;
CREATE VIEW homeward.exchanges AS
SELECT e.log_index AS seq, e.at, c.kind, e.exchange, c.me, c.peer, c.type, e.subject, c.operation, c.purpose, c.caller,
	CASE c.decision WHEN '' THEN c.outcome ELSE c.decision END AS decision, c.rules, c.policy, c.fields, c.ttl_s,
	p.origin, e.log_index, c.outcome, encode(e.record_hash, 'base64') AS rh, e.message, e.count
FROM homeward.log_entries e
JOIN homeward.log_contexts c ON c.id = e.context
JOIN homeward.log_positions p ON p.id = e.log
UNION ALL
SELECT c.seq * 100000 + e.place - 4000000000000000000, to_timestamp(e.at / 1000000.0::float8), c.kind, e.exchange, c.me,
	c.peer, c.type, e.subject, c.operation, c.purpose, c.caller, c.decision, c.rules, c.policy, c.fields, c.ttl_s,
	NULL, NULL, NULL, NULL, NULL, NULL
FROM homeward.exchange_commits c,
	unnest(c.at, c.exchange, c.subject) WITH ORDINALITY AS e(at, exchange, subject, place);

-- The entries of one exchange, found by the time in its id (UUIDv7): they are within minutes of it.
CREATE FUNCTION homeward.exchange_entries(wanted uuid) RETURNS SETOF homeward.exchanges LANGUAGE sql STABLE AS $$
	SELECT x.* FROM homeward.exchanges x,
		to_timestamp(('x' || lpad(left(replace(wanted::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0) AS made(at)
	WHERE x.exchange = wanted AND x.at BETWEEN made.at - interval '5 minutes' AND made.at + interval '5 minutes'
$$;
