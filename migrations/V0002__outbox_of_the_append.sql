-- What an append moved, as arrays in step: one of these rows per transaction, and JSON of it cost more than the heads.
ALTER TABLE outbox
    ADD COLUMN moved uuid[] NOT NULL DEFAULT '{}',
    ADD COLUMN moved_from bigint[] NOT NULL DEFAULT '{}',
    ADD COLUMN moved_to bigint[] NOT NULL DEFAULT '{}',
    ALTER COLUMN events SET DEFAULT '[]';
-- A batch's row stays in one piece; it lives for a moment, so neither compressing nor cutting it up is worth it.
ALTER TABLE outbox SET (toast_tuple_target = 8160);
