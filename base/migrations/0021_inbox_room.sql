-- An event's row is written, and a moment later marked as passed on.  With room in its page the second costs neither new
-- entries in the indexes nor a page of its own; without it every row left its page half dead.
ALTER TABLE homeward.inbox SET (fillfactor = 50);
