//! Places at queues: a channel for each, so that giving one up is closing a channel. The broker then gives what was not
//! acknowledged to the next in its old order; after a `basic.cancel` it would come behind what was never given out.

use super::{link::Live, topology::Topology};
use crate::{
    bus::{Acks, BusLost, CommandConsumer, Delivery, EventConsumer, EventRole, PREFETCH},
    event::DurableEvent,
    wire::{self, MESSAGE_MAX, WireError},
};
use bytes::Bytes;
use futures_util::{StreamExt, future::BoxFuture};
use lapin::{
    Channel, Consumer, Result,
    message::Delivery as Message,
    options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions},
    types::{FieldTable, ShortString},
};
use metrics::counter;
use std::{
    collections::VecDeque,
    future::poll_fn,
    mem,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};
use tokio::time::timeout;

/// For closing a channel that nobody waits for.
const CLOSE_MAX: Duration = Duration::from_secs(5);

type Connected = Arc<Live<()>>;

fn lost(error: impl ToString) -> BusLost {
    BusLost(error.to_string())
}

/// A channel with a consumer. Dropping it closes the channel, in the background.
struct Seat {
    channel: Channel,
    consumer: Option<Consumer>,
    live: Connected,
    queue: ShortString,
    lost: Option<BusLost>,
}

impl Seat {
    async fn take(
        live: Connected,
        queue: ShortString,
        declare: impl AsyncFnOnce(&Channel) -> Result<()>,
    ) -> Result<Self> {
        let channel = live.connection().create_channel().await?;
        // From here on whatever fails, or is given up, closes the channel: a consumer that was half made would hold the
        // queue's one active place for ever.
        let mut seat = Self { channel, consumer: None, live, queue, lost: None };
        declare(&seat.channel).await?;
        seat.channel.basic_qos(PREFETCH as u16, BasicQosOptions::default()).await?;
        let options = BasicConsumeOptions::default();
        let consuming = seat.channel.basic_consume(seat.queue.clone(), "".into(), options, FieldTable::default());
        seat.consumer = Some(consuming.await?);
        Ok(seat)
    }

    /// The next message. Cancel safe.
    async fn next(&mut self) -> std::result::Result<Message, BusLost> {
        loop {
            if let Some(lost) = &self.lost {
                return Err(lost.clone());
            }
            let Some(consumer) = &mut self.consumer else { return Err(lost("there is no consumer")) };
            match consumer.next().await {
                Some(Ok(message)) if self.channel.status().connected() => return Ok(message),
                // What came before the channel broke is another's by now.
                Some(Ok(_)) => {}
                Some(Err(error)) => self.lost = Some(lost(error)),
                None => self.lost = Some(lost("the queue is gone")),
            }
        }
    }

    /// A message that is none of ours must not come again, nor stop those behind it.
    async fn discard(&self, tag: u64, error: WireError) {
        counter!("rookery_bus_garbage_total").increment(1);
        tracing::warn!(queue = self.queue.as_str(), %error, "a message cannot be read; it is left out");
        // Where this fails the channel is gone, which the next look at it tells.
        let _ = self.channel.basic_ack(tag, BasicAckOptions::default()).await;
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let (channel, live, consumer) = (self.channel.clone(), self.live.clone(), self.consumer.take());
        self.live.runtime().spawn(async move {
            let _ = timeout(CLOSE_MAX, channel.close(200, "OK".into())).await;
            // Not before: an open consumer that is dropped sends a basic.cancel of its own.
            drop(consumer);
            drop(live);
        });
    }
}

fn read<T>(
    message: &mut Message,
    decode: impl FnOnce(Bytes) -> std::result::Result<T, WireError>,
) -> std::result::Result<T, WireError> {
    match mem::take(&mut message.data) {
        data if data.len() > MESSAGE_MAX => Err(WireError::TooLarge),
        data => decode(data.into()),
    }
}

/// What was given out and is not acknowledged, by tag. The broker closes the channel of who acknowledges anything else.
struct Given {
    channel: Channel,
    tags: Mutex<VecDeque<u64>>,
    /// An acknowledgement covers all before it.
    multiple: bool,
}

impl Given {
    fn new(seat: &Seat, multiple: bool) -> Arc<Self> {
        Arc::new(Self { channel: seat.channel.clone(), tags: Mutex::default(), multiple })
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<u64>> {
        self.tags.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(&self, tag: u64) {
        self.lock().push_back(tag);
    }

    /// The tag to name to the broker, if there is one.
    fn settle(&self, tags: &mut VecDeque<u64>, tag: u64) -> Option<u64> {
        match self.multiple {
            true => {
                let covered = tags.partition_point(|given| *given <= tag);
                tags.drain(..covered).next_back()
            }
            false => tags.binary_search(&tag).ok().and_then(|place| tags.remove(place)),
        }
    }

    async fn ack(&self, tag: u64) -> std::result::Result<(), BusLost> {
        if !self.channel.status().connected() {
            return Err(lost("the channel is closed"));
        }
        let options = BasicAckOptions { multiple: self.multiple };
        let mut sending = None;
        poll_fn(|context| {
            // Queued by the first poll, under the lock: a lower tag must not come behind a higher one.
            let mut tags = self.lock();
            if sending.is_none() {
                match self.settle(&mut tags, tag) {
                    Some(tag) => sending = Some(Box::pin(self.channel.basic_ack(tag, options))),
                    None => return std::task::Poll::Ready(Ok(())),
                }
            }
            sending.as_mut().map_or(std::task::Poll::Ready(Ok(())), |sending| sending.as_mut().poll(context))
        })
        .await
        .map_err(lost)
    }
}

impl Acks for Given {
    fn ack(&self, tag: u64) -> BoxFuture<'_, std::result::Result<(), BusLost>> {
        Box::pin(self.ack(tag))
    }
}

pub(super) struct Commands {
    seat: Seat,
    given: Arc<Given>,
}

impl Commands {
    pub async fn subscribe(live: Connected, topology: &Topology, partition: u16) -> Result<Self> {
        let declare = async |channel: &Channel| topology.declare_commands(channel, partition).await;
        let seat = Seat::take(live, topology.commands(partition), declare).await?;
        Ok(Self { given: Given::new(&seat, true), seat })
    }

    async fn next(&mut self) -> std::result::Result<Delivery, BusLost> {
        loop {
            let mut message = self.seat.next().await?;
            let (tag, redelivered) = (message.delivery_tag, message.redelivered);
            match read(&mut message, wire::decode_batch) {
                Ok(batch) => {
                    counter!("rookery_bus_redelivered_total").increment(redelivered.into());
                    self.given.push(tag);
                    return Ok(Delivery { tag, redelivered, batch: Arc::new(batch) });
                }
                Err(error) => self.seat.discard(tag, error).await,
            }
        }
    }
}

impl CommandConsumer for Commands {
    fn recv(&mut self) -> BoxFuture<'_, std::result::Result<Delivery, BusLost>> {
        Box::pin(self.next())
    }

    fn acks(&self) -> Arc<dyn Acks> {
        self.given.clone()
    }
}

pub(super) struct Events {
    seat: Seat,
    given: Arc<Given>,
    role: EventRole,
}

impl Events {
    pub async fn subscribe(live: Connected, topology: &Topology, role: EventRole) -> Result<Self> {
        let declare = async |channel: &Channel| topology.declare_events(channel, &[role]).await;
        let seat = Seat::take(live, topology.role(role), declare).await?;
        Ok(Self { given: Given::new(&seat, false), seat, role })
    }

    async fn next(&mut self) -> std::result::Result<(u64, DurableEvent), BusLost> {
        loop {
            let mut message = self.seat.next().await?;
            let tag = message.delivery_tag;
            match read(&mut message, wire::decode_event) {
                Ok(event) => {
                    let again = u64::from(message.redelivered);
                    counter!("rookery_bus_events_redelivered_total", "role" => self.role.name()).increment(again);
                    self.given.push(tag);
                    return Ok((tag, event));
                }
                Err(error) => self.seat.discard(tag, error).await,
            }
        }
    }
}

impl EventConsumer for Events {
    fn recv(&mut self) -> BoxFuture<'_, std::result::Result<(u64, DurableEvent), BusLost>> {
        Box::pin(self.next())
    }

    fn ack(&mut self, tag: u64) -> BoxFuture<'_, std::result::Result<(), BusLost>> {
        Box::pin(self.given.ack(tag))
    }
}
