-- A subject's own key, wrapped by a master key that is not in the database.  ref is a keyed hash, never the id.  Deleting
-- the row is what makes the subject's entries in the access log nobody's.
CREATE TABLE homeward.subject_keys (
	ref         text        PRIMARY KEY,
	wrapped     bytea       NOT NULL,
	created_at  timestamptz NOT NULL DEFAULT now()
);
