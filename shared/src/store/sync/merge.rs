//! Messages and changes of one conversation in the order of their places. Where a page ends between two of them, the
//! position reached is one that the conversation really had.

use super::{changes::Change, reading::Wanted};
use crate::view::MessageView;
use serde::Serialize;
use serde_json::value::{RawValue, to_raw_value};
use std::{iter::Peekable, vec::IntoIter};

/// A change in the shape of the event it was live; one that tells the client nothing has a place only.
#[derive(Serialize)]
struct ChangeView<'a> {
    event: &'a str,
    seq: i64,
    rev: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    data: Option<&'a RawValue>,
}

/// The kind of a change that is not to be seen, or is contained in a message of the same answer.
const NONE: &str = "none";

pub(super) fn raw<T: Serialize>(value: &T) -> Box<RawValue> {
    to_raw_value(value).expect("cannot fail because our views serialize without errors")
}

/// The next event, and the position the client is at when it has it.
struct Next {
    json: Box<RawValue>,
    is_message: bool,
    position: (i64, i64),
}

pub(super) struct Merge<'a> {
    wanted: &'a Wanted,
    messages: Peekable<IntoIter<MessageView>>,
    changes: Peekable<IntoIter<Change>>,
    next: Option<Next>,
    left: i64,
    /// `(seq, rev)` reached.
    pub position: (i64, i64),
    pub taken_messages: Vec<Box<RawValue>>,
    pub taken_changes: Vec<Box<RawValue>>,
}

impl<'a> Merge<'a> {
    pub fn new(wanted: &'a Wanted, messages: Vec<MessageView>, changes: Vec<Change>) -> Self {
        Self {
            wanted,
            messages: messages.into_iter().peekable(),
            changes: changes.into_iter().peekable(),
            next: None,
            left: wanted.take,
            position: (wanted.known.seq, wanted.known.rev),
            taken_messages: vec![],
            taken_changes: vec![],
        }
    }

    /// What the next event weighs; `None` at the end of what was read.
    pub fn next_size(&mut self) -> Option<usize> {
        if self.next.is_none() && self.left > 0 {
            self.next = self.read_next();
        }
        self.next.as_ref().map(|next| next.json.get().len())
    }

    pub fn take_next(&mut self) {
        let Some(next) = self.next.take() else { return };
        self.left -= 1;
        self.position = next.position;
        if next.is_message { self.taken_messages.push(next.json) } else { self.taken_changes.push(next.json) }
    }

    fn read_next(&mut self) -> Option<Next> {
        let last_read = self.wanted.last_seq();
        let message_seq = self.messages.peek().map(|message| message.seq);
        // A change comes after message `after_seq` and before the next one. Messages before the reader's time are
        // missing here, so places are compared, not counted.
        let is_next = |change: &Change| message_seq.map_or(change.after_seq <= last_read, |seq| change.after_seq < seq);
        if let Some(change) = self.changes.next_if(is_next) {
            let position = (self.position.0.max(change.after_seq), change.rev);
            return Some(Next { json: raw(&change_view(&change)), is_message: false, position });
        }
        match self.messages.next() {
            Some(message) => {
                let position = (message.seq, self.position.1);
                Some(Next { json: raw(&message), is_message: true, position })
            }
            None => {
                self.position.0 = self.position.0.max(last_read);
                None
            }
        }
    }
}

fn change_view(change: &Change) -> ChangeView<'_> {
    let event = if change.data.is_some() { change.kind.as_str() } else { NONE };
    ChangeView { event, seq: change.after_seq, rev: change.rev, data: change.data.as_deref() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        clock,
        domain::{ConversationId, MessageId, MessageKind, UserId},
        store::sync::{Known, heads::Head},
        view::Empty,
    };
    use uuid::Uuid;

    fn wanted(known: (i64, i64), head: (i64, i64), from_seq: i64, take: i64) -> Wanted {
        let head = Head {
            seq: head.0,
            rev: head.1,
            from_seq,
            joined_place: from_seq,
            read_seq: 0,
            delivered_seq: 0,
            marks_of_all: true,
            marks: None,
        };
        Wanted { id: Uuid::nil(), known: Known { seq: known.0, rev: known.1, marks: None }, head, take }
    }

    fn message(seq: i64) -> MessageView {
        MessageView {
            id: MessageId::new(),
            conversation_id: ConversationId::new(),
            seq,
            sender_id: UserId::new(),
            kind: MessageKind::Text,
            body: "now".into(),
            payload: None,
            attachments: None,
            rev: 9,
            reply_to: None,
            thread_root: None,
            forwarded_from: None,
            mentions: vec![],
            reactions: Empty {},
            pinned: false,
            edited_at: None,
            deleted_at: None,
            created_at: clock::now(),
            status: None,
        }
    }

    fn change(rev: i64, after_seq: i64) -> Change {
        Change { rev, after_seq, kind: "member.removed".into(), data: None }
    }

    /// The places in the order they come out, and where it ends.
    fn places(wanted: &Wanted, messages: Vec<MessageView>, changes: Vec<Change>) -> (Vec<(i64, i64)>, (i64, i64)) {
        let mut merge = Merge::new(wanted, messages, changes);
        let mut places = vec![];
        while merge.next_size().is_some() {
            merge.take_next();
            places.push(merge.position);
        }
        (places, merge.position)
    }

    #[test]
    fn events_come_in_the_order_of_their_places() {
        let wanted = wanted((3, 0), (6, 3), 0, 100);
        let changes = vec![change(1, 3), change(2, 5), change(3, 6)];
        let (places, end) = places(&wanted, vec![message(4), message(5), message(6)], changes);
        assert_eq!(places, [(3, 1), (4, 1), (5, 1), (5, 2), (6, 2), (6, 3)]);
        assert_eq!(end, (6, 3));
    }

    #[test]
    fn what_is_cut_ends_at_a_position_that_was() {
        // Two of six are read: messages up to 5, changes up to 2, of which the first two places are taken.
        let wanted = wanted((3, 0), (6, 3), 0, 2);
        let changes = vec![change(1, 4), change(2, 6)];
        assert_eq!(places(&wanted, vec![message(4), message(5)], changes).1, (4, 1));
    }

    #[test]
    fn a_change_after_what_was_read_waits_for_the_next_page() {
        // Messages 1 to 4 were before his time; the change after message 6 must not overtake message 5.
        let wanted = wanted((0, 0), (6, 1), 4, 3);
        assert_eq!(places(&wanted, vec![], vec![change(1, 6)]), (vec![], (3, 0)));
    }

    #[test]
    fn invisible_messages_are_stepped_over() {
        let wanted = wanted((0, 0), (6, 2), 4, 100);
        let changes = vec![change(1, 2), change(2, 6)];
        let (places, end) = places(&wanted, vec![message(5), message(6)], changes);
        assert_eq!(places, [(2, 1), (5, 1), (6, 1), (6, 2)]);
        assert_eq!(end, (6, 2));
    }

    #[test]
    fn a_change_without_data_is_a_place() {
        let mut change = change(2, 6);
        assert_eq!(raw(&change_view(&change)).get(), r#"{"event":"none","seq":6,"rev":2}"#);
        change.data = Some(RawValue::from_string(r#"{"a":1}"#.into()).unwrap());
        assert_eq!(raw(&change_view(&change)).get(), r#"{"event":"member.removed","seq":6,"rev":2,"data":{"a":1}}"#);
    }
}
