//! Where a list goes on, as a text that means nothing to clients: the last item's place and a few bytes that tell a
//! cursor of ours from a damaged one. It grants nothing: every page asks again who may see what.

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use chrono::{DateTime, Utc};
use shared::{
    domain::{ConversationId, UserId},
    reply::Refusal,
    store::conversations::ListedAt,
};
use uuid::Uuid;

const CHECK: usize = 4;
/// Longer than any of ours; a longer one is refused unread.
const TEXT_MAX: usize = 64;

#[derive(Clone, Copy)]
enum List {
    Conversations = 1,
    People = 2,
}

/// The cursor after a conversation in the list of conversations.
pub fn after_conversation(at: ListedAt) -> String {
    let micros = at.changed_at.timestamp_micros().to_be_bytes();
    seal(List::Conversations, &[micros.as_slice(), at.id.0.as_bytes()].concat())
}

/// The cursor after a person in a list of people.
pub fn after_user(user: UserId) -> String {
    seal(List::People, user.0.as_bytes())
}

pub fn conversation(cursor: Option<&str>) -> Result<Option<ListedAt>, Refusal> {
    let place = |bytes: &[u8]| {
        let (micros, id) = bytes.split_first_chunk::<8>()?;
        let changed_at = DateTime::<Utc>::from_timestamp_micros(i64::from_be_bytes(*micros))?;
        Some(ListedAt { changed_at, id: ConversationId(Uuid::from_slice(id).ok()?) })
    };
    open(List::Conversations, cursor, place)
}

pub fn user(cursor: Option<&str>) -> Result<Option<UserId>, Refusal> {
    open(List::People, cursor, |bytes| Uuid::from_slice(bytes).ok().map(UserId))
}

fn seal(list: List, place: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode([check(list, place).as_slice(), place].concat())
}

fn open<T>(list: List, cursor: Option<&str>, place: impl Fn(&[u8]) -> Option<T>) -> Result<Option<T>, Refusal> {
    let Some(text) = cursor else { return Ok(None) };
    let found = (text.len() <= TEXT_MAX).then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten().and_then(|bytes| {
        let (sum, rest) = bytes.split_first_chunk::<CHECK>()?;
        if *sum == check(list, rest) { place(rest) } else { None }
    });
    found.map(Some).ok_or_else(|| Refusal::field("cursor", "is none of this list"))
}

/// FNV-1a, 32 bits: against accident. Whoever forges one gets what he could have asked for anyway.
fn check(list: List, place: &[u8]) -> [u8; CHECK] {
    let bytes = std::iter::once(&(list as u8)).chain(place).copied().collect::<Vec<u8>>();
    bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)).to_be_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::{clock, reply::Code};

    #[test]
    fn a_cursor_is_found_again() {
        let at = ListedAt { changed_at: clock::now(), id: ConversationId::new() };
        assert_eq!(conversation(Some(&after_conversation(at))), Ok(Some(at)));
        let person = UserId::new();
        assert_eq!(user(Some(&after_user(person))), Ok(Some(person)));
        assert_eq!(user(None), Ok(None));
    }

    #[test]
    fn a_changed_cursor_is_invalid() {
        let cursor = after_user(UserId::new());
        for at in 0..cursor.len() {
            let mut other = cursor.clone().into_bytes();
            other[at] = if other[at] == b'A' { b'B' } else { b'A' };
            let refusal = user(Some(std::str::from_utf8(&other).unwrap())).expect_err("one letter is another");
            assert_eq!((refusal.code, refusal.field.unwrap().0), (Code::Invalid, "cursor".into()));
        }
        for other in ["", "x", "not base64!", &"A".repeat(1000), &cursor[1..]] {
            assert!(user(Some(other)).is_err(), "{other}");
        }
        assert!(conversation(Some(&cursor)).is_err(), "a cursor belongs to its list");
    }
}
