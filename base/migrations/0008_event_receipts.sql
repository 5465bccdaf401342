-- What the destination said of an event; without a receipt it is sent again.
ALTER TABLE homeward.outbox
	ADD COLUMN receipted_at timestamptz,
	ADD COLUMN receipt      text NOT NULL DEFAULT '',	-- applied, duplicate, expired, refused, dead
	ADD COLUMN resends      int  NOT NULL DEFAULT 0;
CREATE INDEX outbox_unreceipted ON homeward.outbox (sent_at)
	WHERE sent_at IS NOT NULL AND receipted_at IS NULL AND refused_at IS NULL AND destination <> 'all';
-- What is over is removed after a while.
CREATE INDEX outbox_over ON homeward.outbox (created_at) WHERE sent_at IS NOT NULL OR refused_at IS NOT NULL;
CREATE INDEX inbox_received_at ON homeward.inbox (received_at);
CREATE INDEX dead_letters_at ON homeward.dead_letters (at);
