//! Sums over exchanges: who talks most, and how long answers take.

use crate::exchange::Exchange;
use alloc::collections::BTreeMap;
use alloc::vec::Vec;

/// What a port or process had to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sum {
    /// Messages, replies included.
    pub messages: u64,
    /// Payload bytes of these.
    pub bytes: u64,
    /// Exchanges whose latency is known.
    pub answered: u64,
    /// Their latencies, in ticks.
    pub ticks: u64,
    /// The longest.
    pub longest: u64,
    /// Exchanges that failed.
    pub failed: u64,
}

impl Sum {
    fn add(&mut self, exchange: &Exchange) {
        self.messages += 1 + u64::from(exchange.is_answered());
        self.bytes += u64::from(exchange.size) + u64::from(exchange.reply_size);
        if let Some(ticks) = exchange.latency() {
            self.answered += 1;
            self.ticks = self.ticks.saturating_add(ticks);
            self.longest = self.longest.max(ticks);
        }
        self.failed += u64::from(exchange.status != 0);
    }

    /// Mean latency in ticks.
    pub fn mean(&self) -> u64 {
        self.ticks / self.answered.max(1)
    }
}

/// Sums by a key, the most messages first.
pub fn sums<K: Ord + Copy>(exchanges: &[Exchange], keys: impl Fn(&Exchange) -> Vec<K>) -> Vec<(K, Sum)> {
    let mut sums: BTreeMap<K, Sum> = BTreeMap::new();
    for exchange in exchanges {
        for key in keys(exchange) {
            sums.entry(key).or_default().add(exchange);
        }
    }
    let mut sums: Vec<_> = sums.into_iter().collect();
    sums.sort_by_key(|(key, sum)| (core::cmp::Reverse((sum.messages, sum.bytes)), *key));
    sums
}

/// The latencies of a port's exchanges.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Latencies {
    /// In ticks, the shortest first; never empty.
    sorted: Vec<u64>,
}

impl Latencies {
    /// Of each port that has any, the most first.
    pub fn by_port(exchanges: &[Exchange]) -> Vec<(u32, Self)> {
        let mut ports: BTreeMap<u32, Vec<u64>> = BTreeMap::new();
        for exchange in exchanges {
            if let Some(ticks) = exchange.latency() {
                ports.entry(exchange.port).or_default().push(ticks);
            }
        }
        let mut ports: Vec<_> = ports
            .into_iter()
            .map(|(port, mut sorted)| {
                sorted.sort_unstable();
                (port, Self { sorted })
            })
            .collect();
        ports.sort_by_key(|(port, latencies)| (core::cmp::Reverse(latencies.count()), *port));
        ports
    }

    /// How many.
    pub fn count(&self) -> usize {
        self.sorted.len()
    }

    /// The least latency that so many thousandths of all do not exceed.
    pub fn quantile(&self, thousandths: usize) -> u64 {
        let rank = (self.sorted.len() * thousandths).div_ceil(1000).max(1);
        self.sorted[rank.min(self.sorted.len()) - 1]
    }

    /// How many lie in each power of two, from the first to the last that has any: its lower bound and the count.
    pub fn buckets(&self) -> Vec<(u64, usize)> {
        let bucket = |ticks: u64| ticks.max(1).ilog2();
        let (first, last) = (bucket(self.sorted[0]), bucket(self.sorted[self.sorted.len() - 1]));
        let mut buckets: Vec<(u64, usize)> = (first..=last).map(|power| (1 << power, 0)).collect();
        for ticks in &self.sorted {
            buckets[(bucket(*ticks) - first) as usize].1 += 1;
        }
        buckets
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::exchange::{Exchanges, tests::nested};

    #[test]
    fn sums_by_port_and_process() {
        let exchanges = Exchanges::of(&nested());
        let ports = sums(exchanges.all(), |e| alloc::vec![e.port]);
        let [(7, first), (5, second)] = ports[..] else { panic!("{ports:?}") };
        assert_eq!(
            (first.messages, first.bytes, first.answered, first.mean(), first.failed),
            (4, 102, 1, 12, 1)
        );
        assert_eq!((second.messages, second.longest), (2, 5));
        let processes = sums(exchanges.all(), |e| alloc::vec![e.client.process, e.server.process]);
        assert_eq!(processes[0].0, 12);
    }

    #[test]
    fn quantiles_and_buckets() {
        let latencies = Latencies { sorted: (1..=1000).collect() };
        assert_eq!([500, 990, 999, 1000].map(|q| latencies.quantile(q)), [500, 990, 999, 1000]);
        let one = Latencies { sorted: alloc::vec![7] };
        assert_eq!([500, 999].map(|q| one.quantile(q)), [7, 7]);
        assert_eq!(one.buckets(), [(4, 1)]);
        let some = Latencies { sorted: alloc::vec![0, 1, 2, 9, 15] };
        assert_eq!(some.buckets(), [(1, 2), (2, 1), (4, 0), (8, 2)]);
    }

    #[test]
    fn latencies_by_port() {
        let ports = Latencies::by_port(Exchanges::of(&nested()).all());
        assert_eq!(
            ports.iter().map(|(port, l)| (*port, l.quantile(500))).collect::<Vec<_>>(),
            [(5, 5), (7, 12)]
        );
    }
}
