-- Under which exchange a destination took an event, as its receipt says: beside its access log, that is a second word.
ALTER TABLE homeward.outbox ADD COLUMN exchange uuid;
ALTER TABLE homeward.broadcasts ADD COLUMN exchange uuid;
