//! Holds the bus over RabbitMQ to the contract, and to what only it promises: what it does when the broker, the way to it
//! or a queue is lost.

#[path = "contract/bus.rs"]
mod contract;
#[path = "rabbit/stage.rs"]
mod stage;

use contract::bus_contract;
use stage::Rabbit;

bus_contract!(Rabbit);
