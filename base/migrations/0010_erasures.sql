-- Regions that were sent something about an erased subject, and whether they have forgotten it too.  sealed is the object,
-- for telling them, under the master key that is not in the database; it goes when they have acknowledged.
CREATE TABLE homeward.erasures (
	erasure         uuid        NOT NULL,
	region          text        NOT NULL,
	type            text        NOT NULL,
	subject         text        NOT NULL,	-- the pseudonym it had
	sealed          bytea,
	state           text        NOT NULL DEFAULT 'pending' CHECK (state IN ('pending', 'acknowledged')),
	requested_at    timestamptz NOT NULL DEFAULT now(),
	acknowledged_at timestamptz,
	attempts        int         NOT NULL DEFAULT 0,
	next_attempt_at timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (erasure, region)
);
CREATE INDEX erasures_pending ON homeward.erasures (next_attempt_at) WHERE state = 'pending';
