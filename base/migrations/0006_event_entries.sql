-- Events crossing are on record as lookups are.
ALTER TABLE homeward.exchange_commits DROP CONSTRAINT exchange_commits_kind_check;
ALTER TABLE homeward.exchange_commits ADD CONSTRAINT exchange_commits_kind_check
	CHECK (kind IN ('ask', 'serve', 'got', 'deny', 'send', 'receive'));
