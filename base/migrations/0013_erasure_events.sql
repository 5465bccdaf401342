-- What events said of an erased subject: what is settled loses its content and keeps its name, by which a second arrival is
-- known.  An id of fewer than eight characters is looked for only where an event names its object, since it could be
-- anything else.  Returns how many rows cannot be emptied yet, because they have not arrived.
CREATE FUNCTION homeward.events_forget(object_type text, object_id text) RETURNS bigint LANGUAGE plpgsql AS $$
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
		AND i.delivered_at IS NOT NULL;
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
