-- Events: what waits to leave, what has arrived, and what could not be taken.

-- A transactional outbox: applications insert here in the transaction that changes their own tables.
-- The columns are those of Debezium's outbox, and the destination.
CREATE TABLE homeward.outbox (
	seq           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	id            text        NOT NULL DEFAULT gen_random_uuid()::text CHECK (id <> ''),
	aggregatetype text        NOT NULL DEFAULT '',
	aggregateid   text        NOT NULL DEFAULT '',	-- the event's subject
	type          text        NOT NULL,
	payload       jsonb,				-- the event's data
	destination   text        NOT NULL,
	source        text        NOT NULL DEFAULT '/homeward/outbox' CHECK (source <> ''),
	attributes    jsonb       NOT NULL DEFAULT '{}' CHECK (jsonb_typeof(attributes) = 'object'),
	sequence      bigint      NOT NULL DEFAULT 0,	-- set by the trigger
	caller        text        NOT NULL DEFAULT '',
	created_at    timestamptz NOT NULL DEFAULT now(),
	next_at       timestamptz NOT NULL DEFAULT now(),
	attempts      int         NOT NULL DEFAULT 0,
	sent_at       timestamptz,			-- the broker confirmed it
	refused_at    timestamptz,			-- it may never leave; reason says why
	reason        text        NOT NULL DEFAULT '',
	UNIQUE (source, id)
);
CREATE INDEX outbox_waiting ON homeward.outbox (seq) WHERE sent_at IS NULL AND refused_at IS NULL;

-- Numbers the events of one subject for one destination, in the order their transactions wrote them: the row's
-- lock makes a second writer of the same subject wait for the first one's commit.
CREATE TABLE homeward.event_sequences (
	destination   text        NOT NULL,
	source        text        NOT NULL,
	subject       text        NOT NULL,
	last          bigint      NOT NULL,
	PRIMARY KEY (destination, source, subject)
);

CREATE FUNCTION homeward.outbox_number() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	NEW.sequence := 0;
	IF NEW.aggregateid <> '' THEN
		INSERT INTO homeward.event_sequences AS s (destination, source, subject, last)
			VALUES (NEW.destination, NEW.source, NEW.aggregateid, 1)
			ON CONFLICT (destination, source, subject) DO UPDATE SET last = s.last + 1
			RETURNING s.last INTO NEW.sequence;
	END IF;
	RETURN NEW;
END $$;
CREATE TRIGGER outbox_number BEFORE INSERT ON homeward.outbox
	FOR EACH ROW EXECUTE FUNCTION homeward.outbox_number();

CREATE FUNCTION homeward.outbox_filled() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_notify('homeward_outbox', '');
	RETURN NULL;
END $$;
CREATE TRIGGER outbox_filled AFTER INSERT ON homeward.outbox
	FOR EACH STATEMENT EXECUTE FUNCTION homeward.outbox_filled();

-- One row for each event taken, ever: a second arrival meets it.  An application's own effect belongs in a trigger
-- on this table, and so in the same transaction.
CREATE TABLE homeward.inbox (
	origin        text        NOT NULL,
	source        text        NOT NULL,
	id            text        NOT NULL,
	type          text        NOT NULL,
	subject       text        NOT NULL,
	destination   text        NOT NULL,
	sequence      bigint      NOT NULL,
	event         jsonb       NOT NULL,
	received_at   timestamptz NOT NULL DEFAULT now(),
	delivered_at  timestamptz,			-- homeward.delivered confirmed it
	PRIMARY KEY (origin, source, id)
);

CREATE TABLE homeward.dead_letters (
	seq           bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at            timestamptz NOT NULL DEFAULT now(),
	reason        text        NOT NULL,
	detail        text        NOT NULL,
	routing_key   text        NOT NULL,
	body          bytea       NOT NULL
);
