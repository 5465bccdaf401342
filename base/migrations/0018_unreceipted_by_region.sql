-- Whether an event without a receipt may still be on its way depends on its destination.
DROP INDEX homeward.outbox_unreceipted;
CREATE INDEX outbox_unreceipted ON homeward.outbox (destination, sent_at)
	WHERE sent_at IS NOT NULL AND receipted_at IS NULL AND refused_at IS NULL AND destination <> 'all';
