//! Into the inboxes: entries in order, and what follows where an inbox is not there.

use super::{
    Core,
    dial::Connection,
    link::{About, Again},
    odd,
};
use crate::{command::GatewayRef, domain::INBOX_ENTRIES_MAX, event::InboxEntry, routing::RoutingAway, wire};
use redis::Value;
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
            let adding = &adding;
            let work =
                |mut connection: Connection, _| async move { adding.query_async(&mut connection.commands).await };
            // Said again, an entry may be there twice: the receiver knows the places it has passed on.
            let ids: Vec<Value> = self.link.call(About::Deliver, Again::Yes, work).await?;
            if ids.len() != to.len() {
                return Err(odd());
            }
            for (gateway, id) in to.into_iter().zip(ids) {
                if id == Value::Nil && !gone.contains(&gateway) {
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
