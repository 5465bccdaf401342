-- Order of arrivals: the last number taken of each stream (what one source says of one subject, to this region or to
-- all), what waits for an earlier number, and what was given up.
CREATE TABLE homeward.streams (
	origin        text        NOT NULL,
	source        text        NOT NULL,
	subject       text        NOT NULL,
	destination   text        NOT NULL,
	last          bigint      NOT NULL,
	PRIMARY KEY (origin, source, subject, destination)
) WITH (fillfactor = 70);
INSERT INTO homeward.streams
	SELECT origin, source, subject, destination, max(sequence) FROM homeward.inbox WHERE sequence > 0 GROUP BY 1, 2, 3, 4;

-- An event goes from here into the inbox, and so has its effect, when its turn has come.  Without an event it is a
-- number that will not come (refused, expired) and that others need not wait for.
CREATE TABLE homeward.held (
	place         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	origin        text        NOT NULL,
	source        text        NOT NULL,
	id            text        NOT NULL DEFAULT '',
	type          text        NOT NULL DEFAULT '',
	subject       text        NOT NULL,
	destination   text        NOT NULL,
	sequence      bigint      NOT NULL,
	first         bigint      NOT NULL,	-- numbers from here to sequence - 1 will not come
	event         jsonb,
	held_at       timestamptz NOT NULL DEFAULT now(),
	outcome       text        NOT NULL DEFAULT 'applied',	-- what its source is told
	is_taken      boolean     NOT NULL DEFAULT false,	-- its turn has come; the row goes when it has been passed on
	UNIQUE (origin, source, subject, destination, sequence, id)
);

-- Numbers that had not come when the later ones were let through.
CREATE TABLE homeward.gaps (
	gap           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at            timestamptz NOT NULL DEFAULT now(),
	origin        text        NOT NULL,
	source        text        NOT NULL,
	subject       text        NOT NULL,
	destination   text        NOT NULL,
	missing_from  bigint      NOT NULL,
	missing_to    bigint      NOT NULL,
	waited_ms     bigint      NOT NULL,
	is_start      boolean     NOT NULL,	-- nothing of the stream was known
	told_at       timestamptz		-- as the system event homeward.gap
);
CREATE INDEX gaps_at ON homeward.gaps (at);
CREATE INDEX gaps_untold ON homeward.gaps (gap) WHERE told_at IS NULL;

-- It came when a later one of its stream had been taken.
ALTER TABLE homeward.inbox ADD COLUMN late boolean NOT NULL DEFAULT false;

-- At the source: numbers that will never be sent.  The next event of the stream that may leave says so (skippedfrom),
-- so that its destination does not wait for them.  The destination is told by nothing else: what was refused may not
-- even be known there.
CREATE TABLE homeward.skips (
	destination   text        NOT NULL,
	source        text        NOT NULL,
	subject       text        NOT NULL,
	sequence      bigint      NOT NULL,
	at            timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (destination, source, subject, sequence)
);
CREATE INDEX skips_at ON homeward.skips (at);
CREATE FUNCTION homeward.outbox_skipped() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	INSERT INTO homeward.skips (destination, source, subject, sequence)
		VALUES (OLD.destination, OLD.source, OLD.aggregateid, OLD.sequence) ON CONFLICT DO NOTHING;
	RETURN NULL;
END $$;
CREATE TRIGGER outbox_refused AFTER UPDATE ON homeward.outbox
	FOR EACH ROW WHEN (NEW.refused_at IS NOT NULL AND OLD.refused_at IS NULL AND NEW.sequence > 0)
	EXECUTE FUNCTION homeward.outbox_skipped();
CREATE TRIGGER outbox_withdrawn AFTER DELETE ON homeward.outbox
	FOR EACH ROW WHEN (OLD.refused_at IS NULL AND OLD.sent_at IS NULL AND OLD.sequence > 0)
	EXECUTE FUNCTION homeward.outbox_skipped();

-- The same event once more (ON CONFLICT DO NOTHING) must not use up a number.  The subject's row is locked by then, so
-- that a row of the same subject written meanwhile is seen.
CREATE OR REPLACE FUNCTION homeward.outbox_number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.sequence := 0;
	IF NEW.aggregateid <> '' THEN
		INSERT INTO homeward.event_sequences AS s (destination, source, subject, last)
			VALUES (NEW.destination, NEW.source, NEW.aggregateid, 1)
			ON CONFLICT (destination, source, subject) DO UPDATE SET last = s.last + 1
			RETURNING s.last INTO NEW.sequence;
		IF EXISTS (SELECT 1 FROM homeward.outbox o WHERE o.source = NEW.source AND o.id = NEW.id) THEN
			UPDATE homeward.event_sequences s SET last = s.last - 1
				WHERE s.destination = NEW.destination AND s.source = NEW.source AND s.subject = NEW.aggregateid;
		END IF;
	END IF;
	RETURN NEW;
END $$;
