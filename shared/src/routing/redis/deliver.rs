//! Into the inboxes: entries in order, and what follows where an inbox is not there.

use super::{
    Core,
    dial::Connection,
    link::{About, Again},
    odd,
};
use crate::{command::GatewayRef, domain::INBOX_ENTRIES_MAX, event::InboxEntry, routing::RoutingAway, wire};
use redis::{RedisResult, Value};
use std::sync::Arc;

/// Bytes and entries that go out together; more follow when these are answered.
const TOGETHER_BYTES: usize = 1024 * 1024;
const TOGETHER_MAX: usize = 1024;
/// Routes of a gateway that is gone that are deleted before the delivery is answered; the rest behind it.
pub(super) const SWEPT_AT_ONCE: usize = 1000;

impl Core {
    pub async fn deliver(
        self: &Arc<Self>,
        entries: Vec<(GatewayRef, InboxEntry)>,
    ) -> Result<Vec<GatewayRef>, RoutingAway> {
        let mut gone = vec![];
        let mut entries = entries.into_iter().peekable();
        while entries.peek().is_some() {
            let (mut adding, mut to, mut bytes) = (redis::pipe(), vec![], 0);
            while let Some((gateway, entry)) = entries.next_if(|_| bytes < TOGETHER_BYTES && to.len() < TOGETHER_MAX) {
                let message = wire::encode_entry(&entry);
                bytes += message.len();
                to.push(gateway);
                // Only where the inbox is, and with an id that follows the one before it: the reader sees every hole.
                adding.cmd("XADD").arg(self.keys.inbox(gateway)).arg("NOMKSTREAM");
                adding.arg("MAXLEN").arg("~").arg(INBOX_ENTRIES_MAX).arg("1-*").arg("e").arg(message);
            }
            let adding = &*adding.ignore_errors();
            let work = |mut connection: Connection, _| async move {
                let ids: Vec<RedisResult<Value>> = adding.query_async(&mut connection.commands).await?;
                ids.into_iter().map(taken).collect::<RedisResult<Vec<bool>>>()
            };
            // Said again, an entry may be there twice: the receiver knows the places it has passed on.
            let taken = self.link.call(About::Deliver, Again::Yes, work).await?;
            if taken.len() != to.len() {
                return Err(odd());
            }
            for (gateway, taken) in to.into_iter().zip(taken) {
                if !taken && !gone.contains(&gateway) {
                    gone.push(gateway);
                }
            }
        }
        for gateway in &gone {
            self.is_gone(*gateway).await;
        }
        Ok(gone)
    }

    /// Nobody is sent there any more: for this process from now on, for all others when its routes are deleted.
    async fn is_gone(self: &Arc<Self>, gateway: GatewayRef) {
        if !self.gone.add(gateway) {
            return;
        }
        self.meters.gone.increment(1);
        match self.sweep(gateway, SWEPT_AT_ONCE).await {
            Ok(true) => {}
            Ok(false) => self.sweep_behind(gateway),
            Err(away) => {
                tracing::debug!(%away, "routes of a gateway that is gone stay until it is met again");
                self.gone.forget(gateway);
            }
        }
    }

    pub(super) fn sweep_behind(self: &Arc<Self>, gateway: GatewayRef) {
        let core = self.clone();
        tokio::spawn(async move {
            if let Err(away) = core.sweep(gateway, usize::MAX).await {
                tracing::debug!(%away, "routes of a gateway that is gone stay until somebody looks for the dead");
            }
        });
    }
}

/// Whether an entry is in its inbox. What is no inbox any more is as good as none, and the others' entries are in theirs:
/// its gateway finds out when it reads it or renews its lease. Any other error is about Redis, and so about all of them.
fn taken(id: RedisResult<Value>) -> RedisResult<bool> {
    let error = match id {
        Ok(id) => return Ok(id != Value::Nil),
        Err(error) => error,
    };
    // An id that somebody else wrote is above ours, or is the last there can be.
    let ids = ["The ID specified in XADD", "The stream has exhausted"];
    let of_this_inbox = match error.code() {
        Some("WRONGTYPE") => true,
        Some("ERR") => error.detail().is_some_and(|detail| ids.iter().any(|about| detail.starts_with(about))),
        _ => false,
    };
    if of_this_inbox { Ok(false) } else { Err(error) }
}
