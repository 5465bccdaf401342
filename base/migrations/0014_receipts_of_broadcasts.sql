-- A broadcast is for every region that this one has a link with, and for itself: one row for each of them.
CREATE TABLE homeward.broadcasts (
	seq           bigint      NOT NULL REFERENCES homeward.outbox (seq) ON DELETE CASCADE,
	region        text        NOT NULL,
	sent_at       timestamptz NOT NULL DEFAULT now(),	-- to this region, last
	receipted_at  timestamptz,
	receipt       text        NOT NULL DEFAULT '',
	resends       int         NOT NULL DEFAULT 0,
	given_up_at   timestamptz,
	PRIMARY KEY (seq, region)
);
CREATE INDEX broadcasts_open ON homeward.broadcasts (sent_at) WHERE receipted_at IS NULL AND given_up_at IS NULL;
-- Its rows have been made.
ALTER TABLE homeward.outbox ADD COLUMN is_spread boolean NOT NULL DEFAULT false;
UPDATE homeward.outbox SET is_spread = true WHERE destination = 'all' AND sent_at IS NOT NULL;
CREATE INDEX outbox_unspread ON homeward.outbox (seq)
	WHERE destination = 'all' AND NOT is_spread AND sent_at IS NOT NULL AND refused_at IS NULL;
