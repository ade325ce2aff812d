//! Every n-th batch delivered again at once, and once more later, behind whatever has come meanwhile.

use futures_util::future::BoxFuture;
use shared::{
    bus::{Acks, BusLost, CommandConsumer, Delivery},
    clock,
};
use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

pub struct Copies {
    consumer: Box<dyn CommandConsumer>,
    every: u32,
    later_by: Duration,
    taken: u32,
    at_once: Option<Delivery>,
    later: VecDeque<(Instant, Delivery)>,
    last_tag: u64,
}

impl Copies {
    pub fn new(consumer: Box<dyn CommandConsumer>, every: u32, later_by: Duration) -> Self {
        Self { consumer, every, later_by, taken: 0, at_once: None, later: VecDeque::new(), last_tag: 0 }
    }

    fn take(&mut self, delivery: Delivery) -> Delivery {
        self.taken = self.taken.wrapping_add(1);
        self.last_tag = delivery.tag;
        if self.taken.is_multiple_of(self.every) {
            let copy = Delivery { redelivered: true, ..delivery.clone() };
            self.at_once = Some(copy.clone());
            self.later.push_back((clock::monotonic() + self.later_by, copy));
        }
        delivery
    }
}

impl CommandConsumer for Copies {
    fn recv(&mut self) -> BoxFuture<'_, Result<Delivery, BusLost>> {
        Box::pin(async move {
            if let Some(copy) = self.at_once.take() {
                return Ok(copy);
            }
            let due = self.later.front().map(|(due, _)| *due);
            tokio::select! {
                biased;
                () = until(due) => {
                    let (_, copy) = self.later.pop_front().expect("cannot fail because the first one was due");
                    // Its own tag is long done; with the last one it tells nobody that anything before it is not.
                    Ok(Delivery { tag: self.last_tag, ..copy })
                }
                delivery = self.consumer.recv() => Ok(self.take(delivery?)),
            }
        })
    }

    fn acks(&self) -> Arc<dyn Acks> {
        self.consumer.acks()
    }
}

async fn until(due: Option<Instant>) {
    match due {
        Some(due) => tokio::time::sleep_until(due.into()).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shared::{
        bus::{Bus, local::LocalBus},
        command::{CommandBatch, GatewayRef},
        domain::GatewayId,
    };

    #[tokio::test]
    async fn every_second_comes_again_at_once_and_later() {
        let bus = LocalBus::new(1, &[]);
        for epoch in 1..=4 {
            let batch = CommandBatch { from: GatewayRef { id: GatewayId::new(), epoch }, commands: vec![] };
            bus.publish(0, Arc::new(batch), Duration::from_secs(60)).await.unwrap();
        }
        let mut copies = Copies::new(bus.consume(0).await.unwrap(), 2, Duration::from_secs(2));
        let mut came = vec![];
        for _ in 0..8 {
            let delivery = copies.recv().await.unwrap();
            came.push((delivery.batch.from.epoch, delivery.tag, delivery.redelivered));
        }
        let first = [(1, 1, false), (2, 2, false), (2, 2, true), (3, 3, false), (4, 4, false), (4, 4, true)];
        assert_eq!(came[..6], first);
        assert_eq!(came[6..], [(2, 4, true), (4, 4, true)], "later, with a tag that is never lower");
        copies.acks().ack(4).await.unwrap();
    }
}
