//! `/sync`: what came after the positions a client has.

use super::{Answer, Input, ask::Ask};
use crate::requests::Sync;
use serde_json::value::RawValue;

pub async fn post(ask: Ask, Input(body): Input<Box<RawValue>>) -> Answer {
    ask.body::<Sync>(&body).await
}
