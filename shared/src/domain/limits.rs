//! The product's limits in one place: what a client may send, how much one answer holds, how long things last.
//! `GET /v1/limits` shows them, and each has a test that reaches it. Sizes are bytes unless the name says otherwise.

use std::time::Duration;

pub const USERNAME_MIN_CHARS: usize = 3;
pub const USERNAME_MAX_CHARS: usize = 32;
pub const EMAIL_MAX: usize = 254;
pub const PASSWORD_MIN: usize = 8;
pub const PASSWORD_MAX: usize = 1024;
pub const DISPLAY_NAME_MAX_CHARS: usize = 64;
pub const DEVICE_MAX_CHARS: usize = 128;
pub const TITLE_MAX_CHARS: usize = 128;
pub const DESCRIPTION_MAX_CHARS: usize = 2048;
pub const BIO_MAX_CHARS: usize = 512;
pub const BODY_MAX: usize = 16 * 1024;
pub const PAYLOAD_MAX: usize = 32 * 1024;
pub const COMMAND_MAX: usize = 64 * 1024;
pub const ATTACHMENTS_MAX: usize = 10;
pub const MENTIONS_MAX: usize = 50;
pub const GROUP_MEMBERS_MAX: usize = 5000;
pub const MEMBERS_ADDED_AT_ONCE_MAX: usize = 100;
pub const PAGE_DEFAULT: usize = 50;
pub const PAGE_MAX: usize = 100;
pub const SYNC_POSITIONS_MAX: usize = 200;
/// A `sync` page must fit an outbox with room to spare for what happens meanwhile.
pub const SYNC_PAGE_MAX: usize = 128 * 1024;
/// A conversation that is further behind than this is reset instead of caught up.
pub const SYNC_BEHIND_MAX: i64 = 1000;
pub const JSON_DEPTH_MAX: usize = 32;
pub const REQUEST_BODY_MAX: usize = 1024 * 1024;
pub const FRAME_MAX: usize = 1024 * 1024;
pub const CONTROL_FRAME_MAX: usize = 125;
pub const FRAGMENTS_MAX: usize = 1024;
pub const COMMANDS_IN_FLIGHT_PER_SESSION_MAX: usize = 32;
pub const OUTBOX_PER_SESSION_MAX: usize = 256 * 1024;
pub const HANDSHAKE_HEADERS_MAX: usize = 16 * 1024;
pub const SESSIONS_PER_USER_MAX: usize = 100;
pub const PRESENCE_WATCH_MAX: usize = 200;
/// Typing and receipts go out only in conversations of at most this many members.
pub const EPHEMERAL_MEMBERS_MAX: usize = 100;
pub const UNREAD_COUNTED_MAX: i64 = 100;

pub const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
pub const HELLO_TIME: Duration = Duration::from_secs(10);
/// How long a caller waits for an answer; then it is `timeout`: outcome unknown, the same id is safe.
pub const COMMAND_DEADLINE: Duration = Duration::from_secs(15);
/// How long the reply of a command other than a send is remembered for a late copy.
pub const EXECUTED_KEPT: Duration = Duration::from_secs(3600);
pub const USER_CHANGES_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);
/// A refresh token used again within this time, by the same device, gives the same successor.
pub const REFRESH_GRACE: Duration = Duration::from_secs(10);
pub const TICKET_LIFE: Duration = Duration::from_secs(30);

/// AMQP-sized batches of commands: how many, and how many bytes, one message on the bus holds at most.
pub const BATCH_COMMANDS_MAX: usize = 256;
pub const BATCH_BYTES_MAX: usize = 128 * 1024;
/// A gateway's commands that wait for an answer, together; beyond it the answer is `overloaded`.
pub const IN_FLIGHT_BYTES_MAX: usize = 128 * 1024 * 1024;
/// All outboxes of a gateway together; beyond it the longest is cut first.
pub const OUTBOXES_BYTES_MAX: usize = 512 * 1024 * 1024;
/// Entries in a gateway's inbox, and the size each may have.
pub const INBOX_ENTRIES_MAX: usize = 8192;
pub const INBOX_ENTRY_MAX: usize = 64 * 1024;
