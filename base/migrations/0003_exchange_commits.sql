-- A group commit holds many entries that differ in three values: when, exchange, subject.  One row a commit and kind of
-- entry, with those three as arrays, costs PostgreSQL less than half of a row an entry.  The view shows the entries as
-- before; exchange_entries() finds one exchange by the time in its id, without reading all commits.
CREATE TABLE homeward.exchange_commits (
	seq          bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	committed_at timestamptz NOT NULL DEFAULT now(),
	kind         text        NOT NULL CHECK (kind IN ('ask', 'serve', 'got', 'deny')),
	me           text        NOT NULL,
	peer         text        NOT NULL,
	type         text        NOT NULL,
	operation    text        NOT NULL,
	purpose      text        NOT NULL,
	caller       text        NOT NULL,
	decision     text        NOT NULL,
	rules        text        NOT NULL,
	policy       text        NOT NULL,
	fields       text        NOT NULL,
	ttl_s        bigint      NOT NULL,
	at           bigint[]    NOT NULL,	-- microseconds since 1970, UTC
	exchange     uuid[]      NOT NULL,
	subject      text[]      NOT NULL
);
-- Compressing random ids costs time and saves nothing.
ALTER TABLE homeward.exchange_commits ALTER at SET STORAGE EXTERNAL, ALTER exchange SET STORAGE EXTERNAL,
	ALTER subject SET STORAGE EXTERNAL;
CREATE INDEX exchange_commits_committed_at ON homeward.exchange_commits (committed_at);

-- What was written so far moves over, a row an entry.
INSERT INTO homeward.exchange_commits (committed_at, kind, me, peer, type, operation, purpose, caller, decision, rules,
	policy, fields, ttl_s, at, exchange, subject)
SELECT at, kind, me, peer, type, operation, purpose, caller, decision, rules, policy, fields, ttl_s,
	ARRAY[(extract(epoch FROM at) * 1000000)::bigint], ARRAY[exchange], ARRAY[subject]
FROM homeward.exchanges ORDER BY seq;
DROP TABLE homeward.exchanges;

CREATE VIEW homeward.exchanges AS
SELECT c.seq * 100000 + e.place AS seq, to_timestamp(e.at / 1000000.0::float8) AS at, c.kind, e.exchange, c.me, c.peer,
	c.type, e.subject, c.operation, c.purpose, c.caller, c.decision, c.rules, c.policy, c.fields, c.ttl_s
FROM homeward.exchange_commits c,
	unnest(c.at, c.exchange, c.subject) WITH ORDINALITY AS e(at, exchange, subject, place);

-- The entries of one exchange.  Its id begins with the milliseconds it was made at (UUIDv7); an entry is committed before
-- its lookup's deadline, which is a matter of seconds, so five minutes on either side allow for clocks that differ.
CREATE FUNCTION homeward.exchange_entries(wanted uuid) RETURNS SETOF homeward.exchanges LANGUAGE sql STABLE AS $$
	SELECT c.seq * 100000 + e.place, to_timestamp(e.at / 1000000.0::float8), c.kind, e.exchange, c.me, c.peer, c.type,
		e.subject, c.operation, c.purpose, c.caller, c.decision, c.rules, c.policy, c.fields, c.ttl_s
	FROM homeward.exchange_commits c,
		unnest(c.at, c.exchange, c.subject) WITH ORDINALITY AS e(at, exchange, subject, place),
		to_timestamp(('x' || lpad(left(replace(wanted::text, '-', ''), 12), 16, '0'))::bit(64)::bigint / 1000.0) AS made(at)
	WHERE c.committed_at BETWEEN made.at - interval '5 minutes' AND made.at + interval '5 minutes' AND e.exchange = wanted
$$;
