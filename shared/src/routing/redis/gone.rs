//! Gateways that a delivery has met as gone. Their routes are being swept; until they are, nobody is sent there.

use crate::command::GatewayRef;
use std::{
    collections::{HashSet, VecDeque},
    sync::{
        PoisonError, RwLock,
        atomic::{AtomicUsize, Ordering},
    },
};

/// Remembered at most, the latest; whoever is forgotten is met again.
const GONE_MAX: usize = 1024;

#[derive(Default)]
pub(super) struct Gone {
    all: RwLock<(VecDeque<GatewayRef>, HashSet<GatewayRef>)>,
    /// So that a lookup, where nobody is gone, asks no lock.
    count: AtomicUsize,
}

impl Gone {
    /// False: it was known.
    pub fn add(&self, gateway: GatewayRef) -> bool {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let (order, gone) = &mut *all;
        if !gone.insert(gateway) {
            return false;
        }
        order.push_back(gateway);
        if order.len() > GONE_MAX
            && let Some(earliest) = order.pop_front()
        {
            gone.remove(&earliest);
        }
        self.count.store(order.len(), Ordering::Release);
        true
    }

    pub fn forget(&self, gateway: GatewayRef) {
        let mut all = self.all.write().unwrap_or_else(PoisonError::into_inner);
        let (order, gone) = &mut *all;
        if gone.remove(&gateway) {
            order.retain(|other| *other != gateway);
        }
        self.count.store(order.len(), Ordering::Release);
    }

    /// Leaves those of `gateways` who are not gone.
    pub fn strike(&self, gateways: &mut Vec<GatewayRef>) {
        if self.count.load(Ordering::Acquire) > 0 && !gateways.is_empty() {
            let all = self.all.read().unwrap_or_else(PoisonError::into_inner);
            gateways.retain(|gateway| !all.1.contains(gateway));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::GatewayId;

    #[test]
    fn the_latest_are_remembered_and_no_more_than_stated() {
        let gone = Gone::default();
        let id = GatewayId::new();
        let gateway = |epoch| GatewayRef { id, epoch };
        for epoch in 0..=GONE_MAX as u64 {
            assert!(gone.add(gateway(epoch)));
        }
        assert!(!gone.add(gateway(7)));
        let mut gateways = vec![gateway(0), gateway(1), gateway(GONE_MAX as u64)];
        gone.strike(&mut gateways);
        assert_eq!(gateways, [gateway(0)]);
        gone.forget(gateway(1));
        let mut gateways = vec![gateway(1)];
        gone.strike(&mut gateways);
        assert_eq!(gateways, [gateway(1)]);
    }
}
