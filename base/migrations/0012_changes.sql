-- Who is told when objects and their routes change: every process of this region, and the regions that hold copies.

-- Whichever process of a region takes an event, all of them hear of what it says has changed.  An empty text: forget
-- everything (a route of many objects, or an id too long for a notification).
CREATE FUNCTION homeward.inbox_changed() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
	told text := jsonb_build_array(NEW.event->'data'->>'object_type', NEW.event->'data'->>'object_id')::text;
BEGIN
	PERFORM pg_notify('homeward_changed',
		CASE WHEN NEW.type = 'object.changed' AND octet_length(told) < 7000 THEN told ELSE '' END);
	RETURN NULL;
END $$;
CREATE TRIGGER inbox_changed AFTER INSERT ON homeward.inbox
	FOR EACH ROW WHEN (NEW.type IN ('object.changed', 'route.changed')) EXECUTE FUNCTION homeward.inbox_changed();

-- The region this database is of, written by its homeward when it has a broker.  Without one nobody is told of routes.
CREATE TABLE homeward.this_region (
	only_row    boolean PRIMARY KEY DEFAULT true CHECK (only_row),
	region      text    NOT NULL
);

-- The home of an object tells of its routes: those of a prefix to everyone, those of one object (an id may be a
-- person's) only to regions that hold a copy, as an object that changed.  A hundred prefixes in one statement are told
-- as one event for each type, without saying which.
CREATE FUNCTION homeward.tell_prefixes(what text, prefixes jsonb) RETURNS void LANGUAGE sql AS $$
	WITH given AS (SELECT p->>'type' AS type, p->>'key' AS key, p->>'region' AS region FROM jsonb_array_elements(prefixes) AS p),
	told AS (
		SELECT type, key, region, NULL::bigint AS many FROM given WHERE jsonb_array_length(prefixes) <= 100
		UNION ALL
		SELECT type, NULL, NULL, count(*) FROM given WHERE jsonb_array_length(prefixes) > 100 GROUP BY type)
	INSERT INTO homeward.outbox (aggregatetype, aggregateid, type, source, destination, payload)
	SELECT 'route', 'route/' || type || coalesce(':' || key, ''), 'route.changed', '/homeward/routes', 'all',
		jsonb_strip_nulls(jsonb_build_object('change', CASE WHEN many IS NULL THEN what ELSE 'changed' END, 'object_type', type,
			'prefix', key, 'home', CASE WHEN what <> 'removed' THEN region END, 'count', many,
			'at', to_char(now() AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS.US"Z"')))
	FROM told
$$;

CREATE FUNCTION homeward.routes_added() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM homeward.tell_prefixes('added', coalesce((SELECT jsonb_agg(to_jsonb(n)) FROM new_routes n
		JOIN homeward.this_region t ON n.region = t.region WHERE n.kind = 'prefix'), '[]'));
	RETURN NULL;
END $$;

CREATE FUNCTION homeward.routes_moved() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM homeward.tell_prefixes('changed', coalesce((SELECT jsonb_agg(to_jsonb(n)) FROM new_routes n
		JOIN old_routes o ON (o.type, o.kind, o.key) = (n.type, n.kind, n.key) AND o.region <> n.region
		JOIN homeward.this_region t ON t.region IN (o.region, n.region) WHERE n.kind = 'prefix'), '[]'));
	PERFORM homeward.object_changed(o.type, o.key) FROM old_routes o
		JOIN new_routes n ON (o.type, o.kind, o.key) = (n.type, n.kind, n.key) AND o.region <> n.region
		JOIN homeward.this_region t ON o.region = t.region
		WHERE o.kind = 'exact' AND EXISTS (SELECT 1 FROM homeward.copies c WHERE c.type = o.type AND c.id = o.key);
	RETURN NULL;
END $$;

CREATE FUNCTION homeward.routes_removed() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
	PERFORM homeward.tell_prefixes('removed', coalesce((SELECT jsonb_agg(to_jsonb(o)) FROM old_routes o
		JOIN homeward.this_region t ON o.region = t.region WHERE o.kind = 'prefix'), '[]'));
	PERFORM homeward.object_changed(o.type, o.key) FROM old_routes o JOIN homeward.this_region t ON o.region = t.region
		WHERE o.kind = 'exact' AND EXISTS (SELECT 1 FROM homeward.copies c WHERE c.type = o.type AND c.id = o.key);
	RETURN NULL;
END $$;

CREATE TRIGGER routes_told_added AFTER INSERT ON homeward.routes REFERENCING NEW TABLE AS new_routes
	FOR EACH STATEMENT EXECUTE FUNCTION homeward.routes_added();
CREATE TRIGGER routes_told_moved AFTER UPDATE ON homeward.routes
	REFERENCING OLD TABLE AS old_routes NEW TABLE AS new_routes
	FOR EACH STATEMENT EXECUTE FUNCTION homeward.routes_moved();
CREATE TRIGGER routes_told_removed AFTER DELETE ON homeward.routes REFERENCING OLD TABLE AS old_routes
	FOR EACH STATEMENT EXECUTE FUNCTION homeward.routes_removed();
