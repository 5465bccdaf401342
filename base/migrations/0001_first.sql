-- Objects at home, routes, grants, the access record and callers.
CREATE TABLE homeward.objects (
	type        text        NOT NULL,
	id          text        NOT NULL,
	version     bigint      NOT NULL DEFAULT 1,
	record      jsonb       NOT NULL,
	updated_at  timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (type, id)
);

CREATE TABLE homeward.routes (
	type        text   NOT NULL,
	kind        text   NOT NULL CHECK (kind IN ('exact', 'prefix')),
	key         text   NOT NULL,
	region      text   NOT NULL,
	PRIMARY KEY (type, kind, key)
);

-- One row; rises with every statement that changes routes, and tells every process.
CREATE TABLE homeward.route_generation (
	only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	generation  bigint  NOT NULL
);
INSERT INTO homeward.route_generation (generation) VALUES (1);

CREATE FUNCTION homeward.routes_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	UPDATE homeward.route_generation SET generation = generation + 1;
	PERFORM pg_notify('homeward_routes', '');
	RETURN NULL;
END $$;
CREATE TRIGGER routes_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON homeward.routes
	FOR EACH STATEMENT EXECUTE FUNCTION homeward.routes_changed();

CREATE TABLE homeward.callers (
	name        text        PRIMARY KEY,
	token_hash  bytea       NOT NULL UNIQUE,	-- SHA-256 of the bearer token
	purposes    text[]      NOT NULL,
	may_write   boolean     NOT NULL DEFAULT false,
	created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE FUNCTION homeward.callers_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM pg_notify('homeward_callers', '');
	RETURN NULL;
END $$;
CREATE TRIGGER callers_changed AFTER INSERT OR UPDATE OR DELETE OR TRUNCATE ON homeward.callers
	FOR EACH STATEMENT EXECUTE FUNCTION homeward.callers_changed();

-- A roaming driver's open visit.  subject is the keyed hash, never the id.
CREATE TABLE homeward.grants (
	subject     text        NOT NULL,
	region      text        NOT NULL,
	opened_at   timestamptz NOT NULL DEFAULT now(),
	expires_at  timestamptz NOT NULL,
	PRIMARY KEY (subject, region)
);

-- The access record.  One row an entry, in the order written; no object ids.
CREATE TABLE homeward.exchanges (
	seq         bigint      GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
	at          timestamptz NOT NULL,
	kind        text        NOT NULL CHECK (kind IN ('ask', 'serve', 'got', 'deny')),
	exchange    uuid        NOT NULL,
	me          text        NOT NULL,
	peer        text        NOT NULL,
	type        text        NOT NULL,
	subject     text        NOT NULL,
	operation   text        NOT NULL,
	purpose     text        NOT NULL,
	caller      text        NOT NULL,
	decision    text        NOT NULL,
	rules       text        NOT NULL,
	policy      text        NOT NULL,
	fields      text        NOT NULL,
	ttl_s       bigint      NOT NULL
);
CREATE INDEX exchanges_exchange ON homeward.exchanges (exchange);
