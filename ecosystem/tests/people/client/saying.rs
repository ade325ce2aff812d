//! What a client says, and says again.

use super::{Asked, Client};
use crate::history::{Message, Outcome};
use serde_json::{Value, json};
use uuid::Uuid;

/// Waiting for an answer at once.
const UNANSWERED_MAX: usize = 8;
/// One in so many messages whose answer was lost is never sent again: nobody will ever know.
const GIVEN_UP: u64 = 10;
/// One in so many things said in a group by its owner is followed by another title.
const RENAMED: u64 = 10;

impl Client {
    pub(super) fn unanswered(&self) -> usize {
        self.asked.values().filter(|asked| matches!(asked, Asked::Send { .. })).count()
    }

    pub(super) fn say(&mut self) {
        let held: Vec<Uuid> = self.holdings.positions().map(|(id, _)| id).collect();
        let mine: Vec<_> = self.crowd.of(self.me).filter(|conversation| held.contains(&conversation.id)).collect();
        if mine.is_empty() || self.unanswered() >= UNANSWERED_MAX || !self.again.is_empty() {
            return;
        }
        let chosen = mine[self.dice.below(mine.len() as u64) as usize];
        let (conversation, owned) = (chosen.id, chosen.members[0] == self.me && chosen.members.len() > 2);
        let body = format!("{} says {:016x}", self.me, self.dice.next());
        self.send(Message { conversation, id: Uuid::now_v7(), body });
        if owned && self.dice.below(RENAMED) == 0 {
            let title = format!("Title {}", self.dice.next());
            self.ask("conversation.update", json!({ "conversation_id": conversation, "title": title }), Asked::Rename);
        }
    }

    fn send(&mut self, message: Message) {
        self.open.entry(message.id).or_insert_with(|| self.crowd.recorder.now());
        let attempt = self.crowd.recorder.sending(self.me, self.session, message.clone());
        let data = json!({ "conversation_id": message.conversation, "id": message.id, "body": message.body });
        self.ask("message.send", data, Asked::Send { attempt, message });
    }

    pub(super) fn repeat(&mut self) {
        while self.unanswered() < UNANSWERED_MAX
            && let Some(message) = self.again.pop_front()
        {
            self.send(message);
        }
    }

    /// Its answer will not come. Who stays away forgets what he wanted to say.
    pub(super) fn lost(&mut self, message: Message) {
        if self.dice.below(GIVEN_UP) > 0 && !self.crowd.stays_away(self.me) {
            self.again.push_back(message);
        } else {
            self.open.remove(&message.id);
        }
    }

    pub(super) fn sent(&mut self, attempt: usize, message: Message, frame: &Value) {
        let recorder = &self.crowd.recorder;
        if let Some(seq) = frame["ok"]["message"]["seq"].as_i64() {
            recorder.answered(attempt, Outcome::Ok { seq });
            self.open.remove(&message.id);
            return self.crowd.count_answer(self.server);
        }
        let code = frame["error"]["code"].as_str().expect("a code").to_owned();
        let again = match code.as_str() {
            "timeout" | "internal" => {
                recorder.answered(attempt, Outcome::Unknown);
                true
            }
            // Done it is not, says the server; it may be later.
            "unavailable" | "overloaded" | "rate_limited" => {
                recorder.answered(attempt, Outcome::Refused { code });
                true
            }
            _ => {
                recorder.answered(attempt, Outcome::Refused { code });
                false
            }
        };
        if again {
            self.again.push_back(message);
        } else {
            self.open.remove(&message.id);
        }
    }
}
