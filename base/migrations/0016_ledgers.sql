-- Ledgers: what one region sent another in a window of time, compared with what arrived.  A window is by the clock of the
-- source's database: an event says when its row of the outbox was made (outboxtime).

ALTER TABLE homeward.inbox ADD COLUMN outbox_time timestamptz;	-- NULL: its source does not say it
CREATE INDEX inbox_outbox_time ON homeward.inbox (origin, outbox_time) WHERE outbox_time IS NOT NULL;

-- At the source and at the destination, each as it knows.
CREATE TABLE homeward.ledgers (
	origin        text        NOT NULL,
	destination   text        NOT NULL,
	since         timestamptz NOT NULL,
	until         timestamptz NOT NULL,		-- not part of it
	sent          bigint      NOT NULL,
	dead          bigint      NOT NULL,		-- of them: the destination said that it would not take them
	ids_sha256    text        NOT NULL,		-- of the others
	taken         bigint,				-- what the destination has
	missing       bigint      NOT NULL DEFAULT 0,	-- named, ever
	extra         bigint      NOT NULL DEFAULT 0,	-- at the destination, and unknown to the source
	awaited       bigint      NOT NULL DEFAULT 0,	-- without a receipt, and not there
	resent        bigint      NOT NULL DEFAULT 0,
	state         text        NOT NULL,		-- told, comparing, open, missing, even, mended, extra, forgotten
	told_at       timestamptz NOT NULL DEFAULT now(),
	looked_at     timestamptz,			-- when the comparison began
	PRIMARY KEY (origin, destination, since)
);
CREATE INDEX ledgers_until ON homeward.ledgers (until);

-- The events by name, at the destination.
CREATE TABLE homeward.ledger_differences (
	origin        text        NOT NULL,
	destination   text        NOT NULL,
	since         timestamptz NOT NULL,
	source        text        NOT NULL,
	id            text        NOT NULL,
	kind          text        NOT NULL,		-- missing, extra
	found_at      timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (origin, destination, since, source, id)
);

-- What regions have to say about ledgers, until it is looked at.  What is lost here is said again.
CREATE TABLE homeward.ledger_messages (
	seq           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at            timestamptz NOT NULL DEFAULT now(),
	region        text        NOT NULL,
	type          text        NOT NULL,
	data          jsonb       NOT NULL
);

-- Texts that compare as the times do.
CREATE FUNCTION homeward.ledger_time(timestamptz) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT to_char($1 AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')
$$;
CREATE FUNCTION homeward.ledger_hash(source text, id text) RETURNS bit(256) LANGUAGE sql STABLE AS $$
	SELECT ('x' || encode(sha256(convert_to(source || E'\n' || id, 'UTF8')), 'hex'))::bit(256)
$$;
-- Of any number of them, in any order: sorting an hour of a busy region would want its memory.
CREATE FUNCTION homeward.ledger_digest(hashes bit(256)) RETURNS text LANGUAGE sql STABLE AS $$
	SELECT encode(sha256(convert_to(coalesce(hashes::text, ''), 'UTF8')), 'hex')
$$;

-- The outbox's events for a region in a span of time, and what is known of each: applied (there), awaited (sent, without a
-- receipt: it is sent again until there is one), dead (not taken there), erased (there, and empty by now: never sent
-- again), kept (refused here, given up, or not sent yet).  $1: the region, $2 to before $3.
CREATE FUNCTION homeward.ledger_rows(text, timestamptz, timestamptz)
	RETURNS TABLE (at timestamptz, source text, id text, word text) LANGUAGE sql STABLE AS $$
	SELECT o.created_at, o.source, o.id, CASE
		WHEN o.refused_at IS NOT NULL OR b.given_up_at IS NOT NULL THEN 'kept'
		WHEN o.destination = 'all' AND o.is_spread AND b.seq IS NULL THEN 'kept'
		WHEN coalesce(b.receipt, o.receipt) IN ('expired', 'refused', 'dead') THEN 'dead'
		WHEN o.payload = '{}' AND o.attributes = '{}' AND o.aggregateid = '' THEN 'erased'
		WHEN coalesce(b.receipted_at, o.receipted_at) IS NOT NULL THEN 'applied'
		WHEN o.sent_at IS NOT NULL OR o.resends > 0 THEN 'awaited'
		ELSE 'kept' END
	FROM (SELECT w.* FROM homeward.outbox w WHERE (w.sent_at IS NOT NULL OR w.refused_at IS NOT NULL)
			AND w.created_at >= $2 AND w.created_at < $3
		UNION ALL SELECT w.* FROM homeward.outbox w WHERE w.sent_at IS NULL AND w.refused_at IS NULL
			AND w.created_at >= $2 AND w.created_at < $3) AS o
	LEFT JOIN homeward.broadcasts b ON o.destination = 'all' AND b.seq = o.seq AND b.region = $1
	WHERE o.destination = $1 OR o.destination = 'all'
$$;
