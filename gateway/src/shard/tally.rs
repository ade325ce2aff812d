//! What a shard counts. Counted in plain numbers on the shard's thread and published once a second: a frame never pays
//! for a metric.

use super::transport::outbox::Totals;
use super::{Closed, LAGGING};
use metrics::{Counter, Gauge, counter, gauge};
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

macro_rules! counts {
    ($($(#[$doc:meta])* $name:ident => $metric:literal,)*) => {
        #[derive(Default)]
        pub(super) struct Tally {
            $($(#[$doc])* pub(super) $name: u64,)*
            /// The longest turn of the loop since the last publication: how long a frame may have had to wait.
            pub(super) longest_turn: Duration,
        }

        struct Counters { $($name: Counter,)* }

        impl Counters {
            fn new(shard: &str) -> Self {
                Counters { $($name: counter!($metric, "shard" => shard.to_owned()),)* }
            }

            fn publish(&self, tally: &mut Tally) {
                $(self.$name.increment(std::mem::take(&mut tally.$name));)*
            }
        }

        #[cfg(test)]
        const NAMES: &[&str] = &[$($metric),*];
    };
}

counts! {
    opened => "rookery_gateway_connections_opened_total",
    reads => "rookery_gateway_reads_total",
    bytes_in => "rookery_gateway_bytes_in_total",
    frames_in => "rookery_gateway_frames_in_total",
    writes => "rookery_gateway_writes_total",
    bytes_out => "rookery_gateway_bytes_out_total",
    /// As handed over: a parcel of several events counts as that many frames.
    frames_out => "rookery_gateway_frames_out_total",
    /// Writes that the socket took only in part.
    short_writes => "rookery_gateway_short_writes_total",
    /// Ephemeral frames left out for a slow peer, or in an overfull intake.
    ephemeral_dropped => "rookery_gateway_ephemeral_dropped_total",
    /// Backlogs thrown away.
    lagging => "rookery_gateway_lagging_total",
    /// Deliveries to connections that were gone.
    stale => "rookery_gateway_stale_deliveries_total",
    /// Connections whose deliveries did not fit the shard's intake.
    missed => "rookery_gateway_intake_missed_total",
    panics => "rookery_gateway_session_panics_total",
    closed_peer => "rookery_gateway_closed_by_peer_total",
    closed_us => "rookery_gateway_closed_by_us_total",
    closed_lagging => "rookery_gateway_closed_lagging_total",
    /// RFC 6455 violations, bad UTF-8, too big: closed with 1002, 1007, 1009.
    closed_violation => "rookery_gateway_closed_violation_total",
    closed_lost => "rookery_gateway_closed_lost_total",
    closed_silent => "rookery_gateway_closed_silent_total",
}

impl Tally {
    pub(super) fn closed(&mut self, why: Closed) {
        match why {
            Closed::Peer(_) => self.closed_peer += 1,
            Closed::Us(code) if code == LAGGING.code => self.closed_lagging += 1,
            Closed::Us(1002 | 1007 | 1009) => self.closed_violation += 1,
            Closed::Us(_) => self.closed_us += 1,
            Closed::Lost => self.closed_lost += 1,
            Closed::Silent => self.closed_silent += 1,
        }
    }
}

/// One shard's metric handles.
pub(super) struct Publisher {
    counters: Counters,
    connections: Gauge,
    longest_turn: Gauge,
    outbox_bytes: Gauge,
    inbound_bytes: Gauge,
}

impl Publisher {
    pub(super) fn new(shard: usize) -> Self {
        let shard = shard.to_string();
        Publisher {
            counters: Counters::new(&shard),
            connections: gauge!("rookery_gateway_connections", "shard" => shard.clone()),
            longest_turn: gauge!("rookery_gateway_longest_turn_seconds", "shard" => shard),
            // Of the process; every shard says the same.
            outbox_bytes: gauge!("rookery_gateway_outbox_bytes"),
            inbound_bytes: gauge!("rookery_gateway_inbound_bytes"),
        }
    }

    pub(super) fn publish(&self, tally: &mut Tally, connections: usize, totals: &Totals) {
        self.counters.publish(tally);
        self.connections.set(connections as f64);
        self.longest_turn.set(std::mem::take(&mut tally.longest_turn).as_secs_f64());
        self.outbox_bytes.set(totals.outboxes.load(Relaxed) as f64);
        self.inbound_bytes.set(totals.inbound.load(Relaxed) as f64);
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn counters_are_named_alike() {
        for name in super::NAMES {
            assert!(name.starts_with("rookery_gateway_") && name.ends_with("_total"), "{name}");
        }
    }
}
