//! What is checked: for each a statement whose rows, one text each, are the violations.

pub(super) struct Check {
    pub name: &'static str,
    pub promise: &'static str,
    pub sql: &'static str,
}

pub(super) const CHECKS: [Check; 20] = [
    Check {
        name: "message_seq",
        promise: "the messages of a conversation are 1, 2, 3 … up to its head",
        sql: "SELECT format('conversation %s: %s messages from %s to %s, head %s', c.id, coalesce(n, 0), lo, hi, c.last_seq)
              FROM conversations c LEFT JOIN (
                  SELECT conversation_id, count(*) AS n, min(seq) AS lo, max(seq) AS hi FROM messages GROUP BY 1) m ON m.conversation_id = c.id
              WHERE coalesce(n, 0) <> c.last_seq OR lo <> 1 OR hi <> c.last_seq",
    },
    Check {
        name: "change_rev",
        promise: "the changes of a conversation are 1, 2, 3 … up to its head",
        sql: "SELECT format('conversation %s: %s changes from %s to %s, head %s', c.id, coalesce(n, 0), lo, hi, c.last_rev)
              FROM conversations c LEFT JOIN (
                  SELECT conversation_id, count(*) AS n, min(rev) AS lo, max(rev) AS hi FROM changes GROUP BY 1) h ON h.conversation_id = c.id
              WHERE coalesce(n, 0) <> c.last_rev OR lo <> 1 OR hi <> c.last_rev",
    },
    Check {
        name: "change_place",
        promise: "a change stands after a message that is there, and never before an earlier change",
        sql: "SELECT format('conversation %s, rev %s: after message %s, earlier change after %s, head %s', id, rev, after_seq, before, last_seq)
              FROM (SELECT c.id, h.rev, h.after_seq, c.last_seq,
                        lag(h.after_seq, 1, 0::bigint) OVER (PARTITION BY c.id ORDER BY h.rev) AS before
                    FROM changes h JOIN conversations c ON c.id = h.conversation_id) x
              WHERE after_seq > last_seq OR after_seq < before",
    },
    Check {
        name: "change_conversation",
        promise: "every change is of a conversation",
        sql: "SELECT format('rev %s of conversation %s', h.rev, h.conversation_id) FROM changes h
              WHERE NOT EXISTS (SELECT FROM conversations c WHERE c.id = h.conversation_id)",
    },
    Check {
        name: "message_rev",
        promise: "a message contains no change that its conversation has not had",
        sql: "SELECT format('message %s: rev %s, head %s', m.id, m.rev, c.last_rev)
              FROM messages m JOIN conversations c ON c.id = m.conversation_id WHERE m.rev > c.last_rev",
    },
    Check {
        name: "message_conversation",
        promise: "every message is of a conversation",
        sql: "SELECT format('message %s of conversation %s', m.id, m.conversation_id) FROM messages m
              WHERE NOT EXISTS (SELECT FROM conversations c WHERE c.id = m.conversation_id)",
    },
    Check {
        name: "message_sender",
        promise: "every message is from somebody",
        sql: "SELECT format('message %s from %s', m.id, m.sender_id) FROM messages m
              WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = m.sender_id)",
    },
    Check {
        name: "message_reply",
        promise: "an answer answers an earlier message of its conversation",
        sql: "SELECT format('message %s answers %s', m.id, m.reply_to) FROM messages m
              WHERE m.reply_to IS NOT NULL AND NOT EXISTS (
                  SELECT FROM messages r WHERE r.id = m.reply_to AND r.conversation_id = m.conversation_id AND r.seq < m.seq)",
    },
    Check {
        name: "message_deleted",
        promise: "of a deleted message no text is left",
        sql: "SELECT format('message %s', m.id) FROM messages m
              WHERE m.deleted_at IS NOT NULL AND (m.body <> '' OR m.extra IS NOT NULL OR m.digest IS NOT NULL
                  OR EXISTS (SELECT FROM edits e WHERE e.message_id = m.id))",
    },
    Check {
        name: "edit_message",
        promise: "every earlier text is of a message",
        sql: "SELECT format('text before rev %s of message %s', e.rev, e.message_id) FROM edits e
              WHERE NOT EXISTS (SELECT FROM messages m WHERE m.id = e.message_id)",
    },
    Check {
        name: "member_count",
        promise: "a conversation counts its members right",
        sql: "SELECT format('conversation %s: %s members, says %s', c.id, coalesce(n, 0), c.member_count)
              FROM conversations c LEFT JOIN (SELECT conversation_id, count(*) AS n FROM members GROUP BY 1) m ON m.conversation_id = c.id
              WHERE coalesce(n, 0) <> c.member_count",
    },
    Check {
        name: "member_conversation",
        promise: "every member is in a conversation",
        sql: "SELECT format('user %s in conversation %s', m.user_id, m.conversation_id) FROM members m
              WHERE NOT EXISTS (SELECT FROM conversations c WHERE c.id = m.conversation_id)",
    },
    Check {
        name: "member_user",
        promise: "every member is somebody",
        sql: "SELECT format('user %s in conversation %s', m.user_id, m.conversation_id) FROM members m
              WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = m.user_id)",
    },
    Check {
        name: "member_marks",
        promise: "nobody has read or joined beyond the head, nor read what was not delivered",
        sql: "SELECT format('user %s in conversation %s: read %s, delivered %s, from %s, joined at %s, head %s+%s', m.user_id,
                  c.id, m.read_seq, m.delivered_seq, m.from_seq, m.joined_place, c.last_seq, c.last_rev)
              FROM members m JOIN conversations c ON c.id = m.conversation_id
              WHERE greatest(m.read_seq, m.delivered_seq, m.from_seq) > c.last_seq OR m.read_seq > m.delivered_seq
                  OR least(m.read_seq, m.delivered_seq, m.from_seq) < 0 OR m.joined_place > c.last_seq + c.last_rev",
    },
    Check {
        name: "direct_members",
        promise: "a direct conversation has exactly two members",
        sql: "SELECT format('conversation %s: %s members', c.id, count(m.user_id))
              FROM conversations c LEFT JOIN members m ON m.conversation_id = c.id
              WHERE c.kind = 'direct' GROUP BY c.id HAVING count(m.user_id) <> 2",
    },
    Check {
        name: "user_stream",
        promise: "what is kept of a person's own changes ends at the head and has no hole",
        // The oldest are dropped after a time, so a stream need not begin at 1.
        sql: "SELECT format('user %s: %s changes from %s to %s, head %s', h.user_id, n, lo, hi, s.last_urev)
              FROM (SELECT user_id, count(*) AS n, min(urev) AS lo, max(urev) AS hi FROM user_changes GROUP BY 1) h
              LEFT JOIN user_streams s ON s.user_id = h.user_id
              WHERE s.user_id IS NULL OR hi <> s.last_urev OR n <> hi - lo + 1 OR lo < 1",
    },
    Check {
        name: "user_stream_user",
        promise: "every person's stream is somebody's",
        sql: "SELECT format('stream of user %s', s.user_id) FROM user_streams s
              WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = s.user_id)",
    },
    Check {
        name: "session_user",
        promise: "every session is somebody's",
        sql: "SELECT format('session %s of user %s', s.id, s.user_id) FROM sessions s
              WHERE NOT EXISTS (SELECT FROM users u WHERE u.id = s.user_id)",
    },
    Check {
        name: "refresh_token_session",
        promise: "every refresh token is of a session",
        // Never the hash: it stands for the token.
        sql: "SELECT format('a token issued at %s for session %s', t.issued_at, t.session_id) FROM refresh_tokens t
              WHERE NOT EXISTS (SELECT FROM sessions s WHERE s.id = t.session_id)",
    },
    Check {
        name: "refresh_token_current",
        promise: "a session has at most one refresh token that was not used yet",
        sql: "SELECT format('session %s: %s tokens', t.session_id, count(*)) FROM refresh_tokens t
              WHERE t.used_at IS NULL GROUP BY t.session_id HAVING count(*) > 1",
    },
];
