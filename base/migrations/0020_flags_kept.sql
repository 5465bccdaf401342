-- Flags of subjects whose records are read from another system: restriction, consent, under the policy's names for them.
-- ref is a keyed hash, never the id, as in subject_keys.  Erasing the subject deletes its rows.
CREATE TABLE homeward.subject_flags (
	ref         text        NOT NULL,
	flag        text        NOT NULL,
	value       text        NOT NULL,
	changed_at  timestamptz NOT NULL DEFAULT now(),
	PRIMARY KEY (ref, flag)
);
