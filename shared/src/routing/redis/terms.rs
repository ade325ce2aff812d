//! What all processes must have alike.

use super::{
    Core,
    link::{About, Again},
};
use crate::routing::{
    RoutingAway,
    terms::{TERMS_HOLD, Term},
};

impl Core {
    pub async fn agree(&self, terms: &[Term]) -> Result<Vec<&'static str>, RoutingAway> {
        let differ: Vec<String> = self
            .run(About::Lease, Again::Yes, &self.scripts.agree, |call, _| {
                call.arg(TERMS_HOLD.as_millis() as u64);
                for term in terms {
                    call.arg(term.setting).arg(&term.value);
                }
            })
            .await?;
        let ours = terms.iter().map(|term| term.setting);
        Ok(ours.filter(|setting| differ.iter().any(|differs| differs == setting)).collect())
    }
}
