-- The spine: accounts and sessions, conversations, messages, the two logs of changes, the outbox.
-- No foreign keys on the append's path: they halve it; `rookery doctor` verifies what they would have.

CREATE TABLE meta (
    key   text PRIMARY KEY,
    value text NOT NULL
);
-- Positions are valid within an epoch; restoring a database gives it another.
INSERT INTO meta (key, value) VALUES ('epoch', gen_random_uuid()::text);

CREATE TABLE users (
    id            uuid PRIMARY KEY,
    username      text NOT NULL,
    username_key  text NOT NULL UNIQUE,
    email         text NOT NULL,
    email_key     text NOT NULL UNIQUE,
    password_hash text NOT NULL,
    display_name  text NOT NULL,
    avatar        text,
    bio           text NOT NULL DEFAULT '',
    verified      boolean NOT NULL DEFAULT false,
    disabled_at   timestamptz,
    created_at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
-- People are found by the beginning of any of the three.
CREATE INDEX users_username_prefix ON users (username_key text_pattern_ops);
CREATE INDEX users_display_name_prefix ON users (lower(display_name) text_pattern_ops);
CREATE INDEX users_email_prefix ON users (email_key text_pattern_ops);

-- One row per login on one device; the refresh tokens of a session are one family.
CREATE TABLE sessions (
    id           uuid PRIMARY KEY,
    user_id      uuid NOT NULL REFERENCES users (id) ON DELETE CASCADE,
    device       text NOT NULL DEFAULT '',
    address      text NOT NULL DEFAULT '',
    created_at   timestamptz NOT NULL DEFAULT clock_timestamp(),
    last_used_at timestamptz NOT NULL DEFAULT clock_timestamp(),
    ended_at     timestamptz,
    ended_why    text
);
CREATE INDEX sessions_user ON sessions (user_id);
CREATE INDEX sessions_ended ON sessions (ended_at) WHERE ended_at IS NOT NULL;

-- Refresh tokens by SHA-256; `used_at` set means rotated: seen again after the grace it ends the family.
CREATE TABLE refresh_tokens (
    hash       bytea PRIMARY KEY,
    session_id uuid NOT NULL REFERENCES sessions (id) ON DELETE CASCADE,
    issued_at  timestamptz NOT NULL DEFAULT clock_timestamp(),
    expires_at timestamptz NOT NULL,
    used_at    timestamptz
);
CREATE INDEX refresh_tokens_session ON refresh_tokens (session_id);

CREATE TABLE conversations (
    id             uuid PRIMARY KEY,
    kind           text NOT NULL CHECK (kind IN ('direct', 'group')),
    title          text,
    description    text NOT NULL DEFAULT '',
    avatar         text,
    visibility     text NOT NULL DEFAULT 'private',
    settings       jsonb NOT NULL DEFAULT '{}',
    last_seq       bigint NOT NULL DEFAULT 0,
    last_rev       bigint NOT NULL DEFAULT 0,
    member_count   integer NOT NULL DEFAULT 0,
    -- Raised whenever the list of members changes; caches of it name the version they read.
    member_version bigint NOT NULL DEFAULT 0,
    created_by     uuid NOT NULL,
    created_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    -- Never goes back: times are greatest(clock, changed_at), so they never contradict seq. Not indexed: updates stay HOT.
    changed_at     timestamptz NOT NULL DEFAULT clock_timestamp(),
    closed_at      timestamptz
) WITH (fillfactor = 70);

CREATE TABLE members (
    conversation_id uuid NOT NULL,
    user_id         uuid NOT NULL,
    role            text NOT NULL DEFAULT 'member',
    -- Reads messages after this one; the list of members carries the place at which each joined.
    from_seq        bigint NOT NULL DEFAULT 0,
    joined_place    bigint NOT NULL DEFAULT 0,
    delivered_seq   bigint NOT NULL DEFAULT 0,
    read_seq        bigint NOT NULL DEFAULT 0,
    marked_unread   boolean NOT NULL DEFAULT false,
    pinned          boolean NOT NULL DEFAULT false,
    muted_until     timestamptz,
    archived        boolean NOT NULL DEFAULT false,
    joined_at       timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (conversation_id, user_id)
) WITH (fillfactor = 80);
-- Both columns, so that whichever index the planner takes for one membership, it is one row.
CREATE INDEX members_user ON members (user_id, conversation_id);

-- The present of each message: body, and the rev of the last change it contains.
CREATE TABLE messages (
    conversation_id uuid        NOT NULL,
    seq             bigint      NOT NULL,
    id              uuid        NOT NULL,
    sender_id       uuid        NOT NULL,
    kind            text        NOT NULL,
    body            text        NOT NULL,
    -- As the client wrote it: an opaque payload is delivered untouched, so no jsonb, which reorders and merges keys.
    extra           json,
    reply_to        uuid,
    -- Tells a resend from another message under the same id; cleared on deletion.
    digest          bytea,
    rev             bigint      NOT NULL,
    created_at      timestamptz NOT NULL,
    edited_at       timestamptz,
    deleted_at      timestamptz,
    PRIMARY KEY (conversation_id, seq)
);
CREATE UNIQUE INDEX messages_id ON messages (id);

-- Earlier texts of edited messages, erased with the message.
CREATE TABLE edits (
    message_id uuid        NOT NULL,
    rev        bigint      NOT NULL,
    body       text        NOT NULL,
    edited_at  timestamptz NOT NULL,
    PRIMARY KEY (message_id, rev)
);

-- The one log of changes to what is already there. It points (seq), or carries results (data), never a message's text.
CREATE TABLE changes (
    conversation_id uuid        NOT NULL,
    rev             bigint      NOT NULL,
    -- last_seq when it happened: rev + after_seq is the change's place.
    after_seq       bigint      NOT NULL,
    kind            text        NOT NULL,
    actor_id        uuid        NOT NULL,
    -- The message it is about, if any.
    seq             bigint,
    data            jsonb       NOT NULL,
    at              timestamptz NOT NULL,
    PRIMARY KEY (conversation_id, rev)
);

-- What concerns one person only.
CREATE TABLE user_streams (
    user_id   uuid PRIMARY KEY,
    last_urev bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 80);

CREATE TABLE user_changes (
    user_id         uuid        NOT NULL,
    urev            bigint      NOT NULL,
    kind            text        NOT NULL,
    conversation_id uuid,
    data            jsonb       NOT NULL,
    at              timestamptz NOT NULL DEFAULT clock_timestamp(),
    PRIMARY KEY (user_id, urev)
);
CREATE INDEX user_changes_at ON user_changes USING brin (at);

-- Replies of commands other than sends, for a late copy of the command.
CREATE TABLE executed (
    id    uuid PRIMARY KEY,
    actor uuid        NOT NULL,
    -- Tells a copy from another command under the same id.
    digest bytea      NOT NULL,
    reply jsonb       NOT NULL,
    at    timestamptz NOT NULL DEFAULT clock_timestamp()
);
CREATE INDEX executed_at ON executed USING brin (at);

-- What must still be handed on. `worker` is the advisory lock's key of the worker that will; 0 is nobody's.
CREATE TABLE outbox (
    id     uuid PRIMARY KEY,
    worker bigint      NOT NULL,
    events jsonb       NOT NULL,
    at     timestamptz NOT NULL DEFAULT clock_timestamp()
) WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 5000);
