-- Exchange ids begin with the time they were made, and rows are added in about that order: a block range index finds an
-- exchange in a few pages, and costs next to nothing on the way of a lookup, where the tree was a tenth of each row's cost.
DROP INDEX homeward.exchanges_exchange;
CREATE INDEX exchanges_exchange ON homeward.exchanges USING brin (exchange) WITH (pages_per_range = 16, autosummarize = on);
