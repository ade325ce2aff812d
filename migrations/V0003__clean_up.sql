-- What is thrown away on a schedule, and when each was last done to its end; one row per task, made here.
CREATE TABLE clean_ups (
    task    text PRIMARY KEY,
    done_at timestamptz NOT NULL DEFAULT clock_timestamp()
);
INSERT INTO clean_ups (task) VALUES ('expired_tokens'), ('idle_sessions'), ('ended_sessions');
-- Tokens are written in about the order in which they expire.
CREATE INDEX refresh_tokens_expires ON refresh_tokens USING brin (expires_at);
CREATE INDEX sessions_idle ON sessions (last_used_at) WHERE ended_at IS NULL;
