//! Who is here, as a client is told: it asks once per session, from then on it is told.

use super::{Asked, Client};
use serde_json::{Value, json};
use std::time::Duration;
use tokio::time::Instant;

/// After a refusal.
const ASK_AGAIN: Duration = Duration::from_secs(1);

impl Client {
    /// Everybody but who is taken out of the first group: not all of them would know him any more.
    pub(super) fn watches(&self) -> bool {
        self.crowd.habits.watch && self.me != self.crowd.removed()
    }

    pub(super) fn watch(&mut self) {
        if self.watch_at.is_none_or(|at| at > Instant::now()) {
            return;
        }
        self.watch_at = None;
        let all = self.crowd.people.iter().take(self.crowd.removed()).enumerate();
        let others: Vec<&str> =
            all.filter(|(number, _)| *number != self.me).map(|(_, person)| person.id.as_str()).collect();
        self.ask("presence.watch", json!({ "user_ids": others }), Asked::Watch);
    }

    pub(super) fn watched(&mut self, answer: &Value) {
        match answer["presence"].as_array() {
            Some(states) => states.iter().for_each(|state| self.presence(state)),
            None => self.watch_at = Some(Instant::now() + ASK_AGAIN),
        }
    }

    pub(super) fn presence(&self, state: &Value) {
        let person = state["user_id"].as_str().and_then(|id| self.crowd.number(id)).expect("somebody known");
        let online = state["online"].as_bool().expect("true or false");
        self.crowd.recorder.told(self.me, self.session, person, online);
    }
}
