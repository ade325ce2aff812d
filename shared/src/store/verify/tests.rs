//! Each check on a database that is right, and on one that is wrong in exactly its way.

use super::*;
use crate::testing::TestDatabase;
use std::collections::BTreeSet;

/// Two people and a third; a group with three messages (one edited, one answered, one deleted) and a direct conversation.
/// Ids are short: `id(7)` is …0007.
const WORLD: &str = "
CREATE FUNCTION id(n int) RETURNS uuid LANGUAGE sql AS $$ SELECT lpad(n::text, 32, '0')::uuid $$;
INSERT INTO users (id, username, username_key, email, email_key, password_hash, display_name)
    SELECT id(n), n::text, n::text, n::text, n::text, 'x', 'x' FROM generate_series(1, 3) n;
INSERT INTO conversations (id, kind, last_seq, last_rev, member_count, created_by) VALUES
    (id(10), 'group', 3, 2, 3, id(1)), (id(11), 'direct', 0, 0, 2, id(1));
INSERT INTO members (conversation_id, user_id, read_seq, delivered_seq, joined_place) VALUES
    (id(10), id(1), 3, 3, 0), (id(10), id(2), 1, 2, 0), (id(10), id(3), 0, 0, 2), (id(11), id(1), 0, 0, 0), (id(11), id(2), 0, 0, 0);
INSERT INTO messages (conversation_id, seq, id, sender_id, kind, body, reply_to, digest, rev, created_at) VALUES
    (id(10), 1, id(21), id(1), 'text', 'edited', NULL, 'x', 1, now()),
    (id(10), 2, id(22), id(2), 'text', 'answer', id(21), 'x', 0, now()),
    (id(10), 3, id(23), id(1), 'text', '', NULL, NULL, 2, now());
UPDATE messages SET deleted_at = now() WHERE id = id(23);
INSERT INTO edits VALUES (id(21), 1, 'first', now());
INSERT INTO changes (conversation_id, rev, after_seq, kind, actor_id, seq, data, at) VALUES
    (id(10), 1, 2, 'message.edited', id(1), 1, '{}', now()), (id(10), 2, 3, 'message.deleted', id(1), 3, '{}', now());
INSERT INTO user_streams VALUES (id(1), 5), (id(2), 0), (id(3), 4);
INSERT INTO user_changes (user_id, urev, kind, data) SELECT id(1), n, 'x', '{}' FROM generate_series(3, 5) n;
INSERT INTO sessions (id, user_id) VALUES (id(30), id(1));
INSERT INTO refresh_tokens (hash, session_id, expires_at, used_at) VALUES ('a', id(30), now(), now()), ('b', id(30), now(), NULL);
ALTER TABLE refresh_tokens DROP CONSTRAINT refresh_tokens_session_id_fkey;
ALTER TABLE sessions DROP CONSTRAINT sessions_user_id_fkey;
";

/// What is done to the world, and what must then be found; sometimes one wrong breaks two promises.
const WRONGS: [(&str, &[&str]); 28] = [
    ("DELETE FROM messages WHERE id = id(22)", &["message_seq"]),
    ("DELETE FROM messages WHERE id = id(23)", &["message_seq"]),
    ("UPDATE messages SET seq = 4 WHERE id = id(23)", &["message_seq"]),
    ("UPDATE conversations SET last_seq = 1 WHERE id = id(11)", &["message_seq"]),
    ("DELETE FROM changes WHERE rev = 1", &["change_rev"]),
    ("UPDATE conversations SET last_rev = 3 WHERE id = id(10)", &["change_rev"]),
    ("UPDATE changes SET after_seq = 9 WHERE rev = 2", &["change_place"]),
    ("UPDATE changes SET after_seq = 1 WHERE rev = 2", &["change_place"]),
    ("INSERT INTO changes VALUES (id(99), 1, 0, 'x', id(1), NULL, '{}', now())", &["change_conversation"]),
    ("UPDATE messages SET rev = 7 WHERE id = id(22)", &["message_rev"]),
    (
        "INSERT INTO messages (conversation_id, seq, id, sender_id, kind, body, rev, created_at)
         VALUES (id(99), 1, id(24), id(1), 'text', 'x', 0, now())",
        &["message_conversation"],
    ),
    ("UPDATE messages SET sender_id = id(99) WHERE id = id(22)", &["message_sender"]),
    ("UPDATE messages SET reply_to = id(99) WHERE id = id(22)", &["message_reply"]),
    ("UPDATE messages SET reply_to = id(23) WHERE id = id(22)", &["message_reply"]),
    ("UPDATE messages SET body = 'still here' WHERE id = id(23)", &["message_deleted"]),
    ("INSERT INTO edits VALUES (id(23), 1, 'still here', now())", &["message_deleted"]),
    ("INSERT INTO edits VALUES (id(99), 1, 'x', now())", &["edit_message"]),
    ("UPDATE conversations SET member_count = 4 WHERE id = id(10)", &["member_count"]),
    ("INSERT INTO members (conversation_id, user_id) VALUES (id(99), id(1))", &["member_conversation"]),
    ("UPDATE members SET user_id = id(99) WHERE user_id = id(3)", &["member_user"]),
    ("UPDATE members SET delivered_seq = 4 WHERE user_id = id(2) AND conversation_id = id(10)", &["member_marks"]),
    ("UPDATE members SET read_seq = 3 WHERE user_id = id(2) AND conversation_id = id(10)", &["member_marks"]),
    ("DELETE FROM members WHERE conversation_id = id(11) AND user_id = id(2)", &["member_count", "direct_members"]),
    ("DELETE FROM user_changes WHERE urev = 4", &["user_stream"]),
    ("UPDATE user_streams SET last_urev = 6 WHERE user_id = id(1)", &["user_stream"]),
    ("INSERT INTO user_streams VALUES (id(99), 0)", &["user_stream_user"]),
    (
        "DELETE FROM refresh_tokens; UPDATE sessions SET user_id = id(99);
         INSERT INTO refresh_tokens (hash, session_id, expires_at) VALUES ('c', id(98), now())",
        &["session_user", "refresh_token_session"],
    ),
    ("UPDATE refresh_tokens SET used_at = NULL", &["refresh_token_current"]),
];

#[tokio::test]
async fn a_sound_database_has_no_finding() {
    let database = TestDatabase::create().await;
    assert_eq!(database.store.verify().await.unwrap(), []);
    database.store.client().await.unwrap().batch_execute(WORLD).await.unwrap();
    assert_eq!(database.store.verify().await.unwrap(), []);
}

#[tokio::test]
async fn every_wrong_is_found_and_nothing_else() {
    let database = TestDatabase::create().await;
    let mut client = database.store.client().await.unwrap();
    client.batch_execute(WORLD).await.unwrap();
    let mut found_once = BTreeSet::new();
    for (wrong, expected) in WRONGS {
        let tx = client.transaction().await.unwrap();
        tx.batch_execute(wrong).await.unwrap();
        let findings = find(&tx).await.unwrap();
        assert_eq!(findings.iter().map(|finding| finding.check).collect::<Vec<_>>(), expected, "{wrong}: {findings:?}");
        assert!(findings.iter().all(|finding| finding.count == 1 && finding.examples.len() == 1), "{findings:?}");
        found_once.extend(expected);
    }
    let names: BTreeSet<_> = CHECKS.iter().map(|check| check.name).collect();
    assert_eq!(found_once, names.iter().collect(), "a check that was never seen to find anything");
}

#[tokio::test]
async fn a_finding_has_the_whole_count_and_five_examples() {
    let database = TestDatabase::create().await;
    let client = database.store.client().await.unwrap();
    client.batch_execute(WORLD).await.unwrap();
    client
        .batch_execute("INSERT INTO edits SELECT id(90 + n), 1, 'x', now() FROM generate_series(1, 8) n")
        .await
        .unwrap();
    let findings = database.store.verify().await.unwrap();
    assert_eq!((findings.len(), findings[0].count, findings[0].examples.len()), (1, 8, EXAMPLES_MAX as usize));
    let text = findings[0].to_string();
    assert!(
        text.starts_with("every earlier text is of a message (edit_message): 8\n  text before rev 1 of message 0"),
        "{text}"
    );
}
