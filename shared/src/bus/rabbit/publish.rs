//! The publishing side of one connection: a channel with confirms for each partition and one for durable events, and
//! one for questions.
//!
//! **A channel for each queue**, because a message that had no queue is told apart from its neighbours' confirms only by
//! the order in which they come: within one queue a mistake between neighbours cannot be told from a queue that was
//! deleted a moment later.
//!
//! **Frames are queued under a lock.** The driver numbers a message and queues its frames in two steps; two threads that
//! mix these up get each other's confirms, and a refused batch would count as taken.

use super::{link::Parts, topology::Topology};
use crate::bus::PublishError;
use futures_util::future::{BoxFuture, try_join_all};
use lapin::{
    BasicProperties, Channel, Confirmation, Connection, Error, Result,
    options::{BasicPublishOptions, ConfirmSelectOptions},
    types::ShortString,
};
use std::{
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll},
    time::Duration,
};
use tokio::{runtime::Handle, sync::Mutex as AsyncMutex, time::timeout};

/// For a question, and for declaring again what is missing.
const ANSWER_MAX: Duration = Duration::from_secs(5);

pub(super) struct Publishing {
    pub commands: Vec<Arc<Lane>>,
    /// None where no role handles events.
    pub events: Option<Arc<Lane>>,
    /// An error closes a channel: questions have their own, and a new one after each.
    questions: AsyncMutex<Option<Channel>>,
}

impl Publishing {
    /// One question at a time.
    pub async fn ask<T>(
        &self,
        connection: &Connection,
        question: impl AsyncFnOnce(&Channel) -> Result<T>,
    ) -> Result<T> {
        let asking = async {
            let mut kept = self.questions.lock().await;
            let channel = match kept.take().filter(|channel| channel.status().connected()) {
                Some(channel) => channel,
                None => connection.create_channel().await?,
            };
            let answer = question(&channel).await;
            *kept = Some(channel);
            answer
        };
        timeout(ANSWER_MAX, asking).await.unwrap_or_else(|_| Err(io::Error::from(io::ErrorKind::TimedOut).into()))
    }
}

impl Parts for Publishing {
    type Wants = Arc<Topology>;

    async fn set_up(connection: &Connection, topology: &Arc<Topology>) -> Result<Self> {
        let questions = connection.create_channel().await?;
        topology.declare(&questions).await?;
        let commands = try_join_all((0..topology.partitions).map(|_| Lane::open(connection))).await?;
        let events = match topology.roles.is_empty() {
            true => None,
            false => Some(Lane::open(connection).await?),
        };
        Ok(Self { commands, events, questions: AsyncMutex::new(Some(questions)) })
    }

    fn are_intact(&self) -> bool {
        self.commands.iter().chain(&self.events).all(|lane| lane.channel.status().connected())
    }
}

/// One channel with confirms.
pub(super) struct Lane {
    channel: Channel,
    order: Mutex<()>,
    runtime: Handle,
}

impl Lane {
    async fn open(connection: &Connection) -> Result<Arc<Self>> {
        let channel = connection.create_channel().await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        Ok(Arc::new(Self { channel, order: Mutex::new(()), runtime: Handle::current() }))
    }

    /// Ok: the broker has it. Resolves when the broker has decided, or the channel broke; however long that takes.
    pub async fn send(
        self: &Arc<Self>,
        exchange: ShortString,
        key: ShortString,
        body: Vec<u8>,
        properties: BasicProperties,
    ) -> std::result::Result<(), PublishError> {
        if !self.channel.status().connected() {
            return Err(PublishError::Away);
        }
        let lane = self.clone();
        let sending = Box::pin(async move {
            // A message without a queue comes back instead of being confirmed and lost.
            let options = BasicPublishOptions { mandatory: true, ..Default::default() };
            let confirm = lane.channel.basic_publish(exchange, key, options, &body, properties).await?;
            drop(body);
            confirm.await
        });
        match (Sending { rest: Some(sending), begun: false, lane: self }).await {
            Ok(Confirmation::Ack(None)) => Ok(()),
            Ok(Confirmation::Ack(Some(_))) => Err(PublishError::Unroutable),
            Ok(Confirmation::Nack(_)) => Err(PublishError::Full),
            // Cannot be: the channel was told to confirm.
            Ok(Confirmation::NotRequested) | Err(_) => Err(PublishError::Broken),
        }
    }
}

/// A message on its way. Given up by its caller it goes on without him: the driver would keep what became of it for
/// somebody who asks.
struct Sending<'a> {
    rest: Option<BoxFuture<'static, std::result::Result<Confirmation, Error>>>,
    begun: bool,
    lane: &'a Lane,
}

impl Future for Sending<'_> {
    type Output = std::result::Result<Confirmation, Error>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let lane = self.lane;
        // Numbered and queued by the first poll.
        let _order = (!self.begun).then(|| lane.order.lock().unwrap_or_else(PoisonError::into_inner));
        self.begun = true;
        let rest = self.rest.as_mut().expect("cannot fail because nobody polls what has resolved");
        let result = rest.as_mut().poll(context);
        if result.is_ready() {
            self.rest = None;
        }
        result
    }
}

impl Drop for Sending<'_> {
    fn drop(&mut self) {
        if let Some(rest) = self.rest.take().filter(|_| self.begun) {
            self.lane.runtime.spawn(rest);
        }
    }
}
