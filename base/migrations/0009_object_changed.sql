-- Which regions may hold a copy of an object of ours, and until when: they are told when it changes.
CREATE TABLE homeward.copies (
	type        text        NOT NULL,
	id          text        NOT NULL,
	region      text        NOT NULL,
	until       timestamptz NOT NULL,
	PRIMARY KEY (type, id, region)
);
CREATE INDEX copies_until ON homeward.copies (until);

-- Tells them, in the transaction of the change.  Call it for objects that live in tables homeward does not own.
CREATE FUNCTION homeward.object_changed(object_type text, object_id text, change text DEFAULT 'changed', version bigint DEFAULT NULL)
RETURNS void LANGUAGE sql AS $$
	INSERT INTO homeward.outbox (aggregatetype, aggregateid, type, source, destination, payload)
	SELECT c.type, c.type || '/' || c.id, 'object.changed', '/homeward/objects', c.region,
		jsonb_strip_nulls(jsonb_build_object('object_type', c.type, 'object_id', c.id, 'change', object_changed.change,
			'version', object_changed.version,
			'changed_at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')))
	FROM homeward.copies c WHERE c.type = object_changed.object_type AND c.id = object_changed.object_id AND c.until > now()
$$;

CREATE FUNCTION homeward.objects_changed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM homeward.object_changed(OLD.type, OLD.id, CASE TG_OP WHEN 'DELETE' THEN 'deleted' ELSE 'changed' END,
		CASE TG_OP WHEN 'DELETE' THEN OLD.version ELSE NEW.version END);
	RETURN NULL;
END $$;
CREATE TRIGGER objects_changed AFTER UPDATE ON homeward.objects
	FOR EACH ROW WHEN (OLD.record IS DISTINCT FROM NEW.record) EXECUTE FUNCTION homeward.objects_changed();
CREATE TRIGGER objects_deleted AFTER DELETE ON homeward.objects
	FOR EACH ROW EXECUTE FUNCTION homeward.objects_changed();
