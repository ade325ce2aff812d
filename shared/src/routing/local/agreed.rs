//! What all must have alike, as long as it holds.

use crate::{
    clock,
    routing::terms::{TERMS_HOLD, Term},
};
use std::{
    collections::HashMap,
    sync::{Mutex, PoisonError},
    time::Instant,
};

#[derive(Default)]
pub(super) struct Agreed {
    held: Mutex<HashMap<&'static str, (String, Instant)>>,
}

impl Agreed {
    pub fn agree(&self, terms: &[Term]) -> Vec<&'static str> {
        let now = clock::monotonic();
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.retain(|_, (_, over)| *over > now);
        let differs = |term: &&Term| held.get(term.setting).is_some_and(|(value, _)| *value != term.value);
        let differ: Vec<&'static str> = terms.iter().filter(differs).map(|term| term.setting).collect();
        if differ.is_empty() {
            held.extend(terms.iter().map(|term| (term.setting, (term.value.clone(), now + TERMS_HOLD))));
        }
        differ
    }
}
