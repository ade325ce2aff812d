//! A worker's place at a partition's queue.

use super::{
    partition::Partition,
    queue::{ConsumerId, Taken},
};
use crate::bus::{Acks, BusLost, CommandConsumer, Delivery};
use futures_util::future::{self, BoxFuture};
use std::{sync::Arc, time::Instant};
use tokio::sync::Notify;

pub(super) struct LocalConsumer {
    place: Arc<Place>,
    wake: Arc<Notify>,
}

struct Place {
    partition: Arc<Partition>,
    id: ConsumerId,
}

impl LocalConsumer {
    pub fn new(partition: Arc<Partition>) -> Self {
        let (id, wake) = partition.subscribe();
        Self { place: Arc::new(Place { partition, id }), wake }
    }
}

impl Drop for LocalConsumer {
    fn drop(&mut self) {
        self.place.partition.leave(self.place.id);
    }
}

fn lost() -> BusLost {
    BusLost("the consumer has no place at its queue any more".to_owned())
}

impl CommandConsumer for LocalConsumer {
    fn recv(&mut self) -> BoxFuture<'_, Result<Delivery, BusLost>> {
        Box::pin(async move {
            // Cancel safe: nothing is awaited between taking a batch and returning it, and a wake-up that comes while
            // nobody waits is kept by the Notify.
            loop {
                match self.place.partition.take(self.place.id) {
                    Taken::Delivery(delivery) => return Ok(delivery),
                    Taken::Lost => return Err(lost()),
                    Taken::Nothing(until) => wait(&self.wake, until).await,
                }
            }
        })
    }

    fn acks(&self) -> Arc<dyn Acks> {
        self.place.clone()
    }
}

impl Acks for Place {
    fn ack(&self, tag: u64) -> BoxFuture<'_, Result<(), BusLost>> {
        let held = self.partition.ack(self.id, tag);
        Box::pin(future::ready(if held { Ok(()) } else { Err(lost()) }))
    }
}

async fn wait(wake: &Notify, until: Option<Instant>) {
    match until {
        None => wake.notified().await,
        Some(until) => {
            tokio::select! {
                () = wake.notified() => {}
                () = tokio::time::sleep_until(until.into()) => {}
            }
        }
    }
}
