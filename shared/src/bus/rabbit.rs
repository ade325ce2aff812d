//! The bus over RabbitMQ.

use super::{Bus, BusLost, BusState, CommandConsumer, EventConsumer, EventRole, PublishError, QueueState};
use crate::{command::CommandBatch, config::ClusterConfig, event::DurableEvent};
use futures_util::future::BoxFuture;
use std::{sync::Arc, time::Duration};

pub struct RabbitBus;

impl RabbitBus {
    /// Connects in the background, and again whenever it has to; until then it is `Away`.
    pub fn new(_config: &ClusterConfig, _partitions: u16, _roles: &[EventRole]) -> Result<Self, String> {
        Ok(Self)
    }
}

impl Bus for RabbitBus {
    fn partitions(&self) -> u16 {
        unimplemented!()
    }
    fn publish(&self, _: u16, _: Arc<CommandBatch>, _: Duration) -> BoxFuture<'_, Result<(), PublishError>> {
        unimplemented!()
    }
    fn consume(&self, _: u16) -> BoxFuture<'_, Result<Box<dyn CommandConsumer>, BusLost>> {
        unimplemented!()
    }
    fn publish_events(&self, _: Vec<DurableEvent>) -> BoxFuture<'_, Result<(), PublishError>> {
        unimplemented!()
    }
    fn consume_events(&self, _: EventRole) -> BoxFuture<'_, Result<Box<dyn EventConsumer>, BusLost>> {
        unimplemented!()
    }
    fn queue(&self, _: u16) -> BoxFuture<'_, Result<QueueState, BusLost>> {
        unimplemented!()
    }
    fn state(&self) -> BusState {
        unimplemented!()
    }
    fn watch(&self) -> tokio::sync::watch::Receiver<super::BusStatus> {
        unimplemented!()
    }
}
