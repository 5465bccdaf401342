-- Regions are also told to drop their copies of a record, without anything being erased.
ALTER TABLE homeward.erasures ADD COLUMN what text NOT NULL DEFAULT 'erase' CHECK (what IN ('erase', 'forget'));
