-- Webhooks: events that were taken are posted to addresses of the settings.  What waits for each is written in the
-- transaction that takes the event, and is gone when it has been delivered or is a dead letter.

CREATE TABLE homeward.webhooks (
	name          text        PRIMARY KEY,
	types         text[]      NOT NULL,	-- event types, or beginnings of them with a * behind
	origins       text[]      NOT NULL,	-- none: every region
	keep          interval    NOT NULL,
	is_configured boolean     NOT NULL DEFAULT true,	-- in the settings; what waits for one that is not, waits until it expires
	paused_at     timestamptz,
	pause_reason  text        NOT NULL DEFAULT '',	-- gone (it answered 410), operator
	resumed_at    timestamptz,
	delivered     bigint      NOT NULL DEFAULT 0,
	failures      bigint      NOT NULL DEFAULT 0,	-- attempts that did not deliver
	dead          bigint      NOT NULL DEFAULT 0,
	last_at       timestamptz,			-- of the last attempt
	last          text        NOT NULL DEFAULT ''	-- its HTTP status, or why there was none
);

CREATE TABLE homeward.webhook_deliveries (
	place         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,	-- the order in which the inbox took them
	webhook       text        NOT NULL,
	origin        text        NOT NULL,
	source        text        NOT NULL,
	id            text        NOT NULL,
	stream        bigint      NOT NULL,	-- a hash of origin, source and subject; 0: no subject, and so no order
	created_at    timestamptz NOT NULL DEFAULT now(),
	expires_at    timestamptz NOT NULL,
	next_at       timestamptz NOT NULL DEFAULT now(),
	attempts      int         NOT NULL DEFAULT 0,
	refusals      int         NOT NULL DEFAULT 0,
	last          text        NOT NULL DEFAULT '',
	UNIQUE (origin, source, id, webhook)
);
CREATE INDEX webhook_deliveries_place ON homeward.webhook_deliveries (webhook, place);
CREATE INDEX webhook_deliveries_stream ON homeward.webhook_deliveries (webhook, stream, place) WHERE stream <> 0;
CREATE INDEX webhook_deliveries_expire ON homeward.webhook_deliveries (expires_at);

CREATE FUNCTION homeward.webhook_stream(origin text, source text, subject text) RETURNS bigint LANGUAGE sql IMMUTABLE AS $$
	SELECT CASE WHEN subject = '' THEN 0 ELSE hashtextextended(jsonb_build_array(origin, source, subject)::text, 0) END
$$;
CREATE FUNCTION homeward.inbox_webhooks() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO homeward.webhook_deliveries (webhook, origin, source, id, stream, expires_at)
		SELECT w.name, e.origin, e.source, e.id, homeward.webhook_stream(e.origin, e.source, e.subject),
			least(now() + w.keep, (e.event->>'expirytime')::timestamptz)
		FROM (SELECT *, row_number() OVER () AS n FROM taken) AS e JOIN homeward.webhooks w ON w.is_configured
			AND (w.origins = '{}' OR e.origin = ANY(w.origins))
			AND EXISTS (SELECT FROM unnest(w.types) AS t
				WHERE e.type = t OR (right(t, 1) = '*' AND starts_with(e.type, left(t, -1))))
		ORDER BY e.n, w.name
	ON CONFLICT DO NOTHING;	-- its inbox row was lost and it came again, and the delivery still waits
	IF FOUND THEN
		PERFORM pg_notify('homeward_webhooks', '');
	END IF;
	RETURN NULL;
END $$;
CREATE TRIGGER inbox_webhooks AFTER INSERT ON homeward.inbox REFERENCING NEW TABLE AS taken
	FOR EACH STATEMENT EXECUTE FUNCTION homeward.inbox_webhooks();

-- As before, but an event that a webhook still waits for is not emptied yet: it is counted, and asked for again.
CREATE OR REPLACE FUNCTION homeward.events_forget(object_type text, object_id text) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
	named   text    := object_type || '/' || object_id;
	wanted  jsonb   := jsonb_build_object('id', object_id);
	is_long boolean := length(object_id) >= 8;
	left_over bigint;
BEGIN
	DELETE FROM homeward.copies c WHERE c.type = object_type AND c.id = object_id;
	DELETE FROM homeward.event_sequences s WHERE s.subject = named
		AND NOT EXISTS (SELECT FROM homeward.outbox o WHERE o.aggregateid = named AND o.sent_at IS NULL AND o.refused_at IS NULL);
	DELETE FROM homeward.streams s WHERE s.subject = named;
	DELETE FROM homeward.skips s WHERE s.subject = named;
	UPDATE homeward.gaps g SET subject = '' WHERE g.subject = named;
	UPDATE homeward.outbox o SET aggregateid = '', payload = '{}', attributes = '{}'
		WHERE (o.aggregateid = named OR (o.payload->>'object_type' = object_type AND o.payload->>'object_id' = object_id)
			OR (is_long AND jsonb_path_exists(o.payload, '$.** ? (@ == $id)', wanted)))
		AND (o.refused_at IS NOT NULL OR o.receipted_at IS NOT NULL OR (o.sent_at IS NOT NULL AND o.destination = 'all'));
	UPDATE homeward.inbox i SET subject = '', event = '{}'
		WHERE (i.subject = named OR (i.event->'data'->>'object_type' = object_type AND i.event->'data'->>'object_id' = object_id)
			OR (is_long AND jsonb_path_exists(i.event->'data', '$.** ? (@ == $id)', wanted)))
		AND i.delivered_at IS NOT NULL AND NOT EXISTS (SELECT FROM homeward.webhook_deliveries d
			WHERE (d.origin, d.source, d.id) = (i.origin, i.source, i.id));
	UPDATE homeward.dead_letters d SET body = '', detail = ''
		WHERE is_long AND position(convert_to(object_id, 'UTF8') IN d.body) > 0;
	SELECT (SELECT count(*) FROM homeward.outbox o WHERE o.aggregateid = named
			OR (o.payload->>'object_type' = object_type AND o.payload->>'object_id' = object_id)
			OR (is_long AND jsonb_path_exists(o.payload, '$.** ? (@ == $id)', wanted)))
		+ (SELECT count(*) FROM homeward.inbox i WHERE i.subject = named
			OR (i.event->'data'->>'object_type' = object_type AND i.event->'data'->>'object_id' = object_id)
			OR (is_long AND jsonb_path_exists(i.event->'data', '$.** ? (@ == $id)', wanted)))
		+ (SELECT count(*) FROM homeward.held h WHERE h.subject = named)
		INTO left_over;
	RETURN left_over;
END $$;
