//! The gateways' own counters, from their `/metrics`: a blocking GET, for it is read twice in a step.

use crate::http::Server;
use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(5);
const BYTES: u64 = 4 * 1024 * 1024;
const FRAMES: &str = "rookery_gateway_frames_out_total";
const WRITES: &str = "rookery_gateway_writes_total";

/// Sums over all gateways and their shards.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Counts {
    pub frames: f64,
    pub writes: f64,
}

impl Counts {
    pub fn read(addresses: &[String]) -> Result<Self> {
        let mut all = Self::default();
        for address in addresses {
            let text = get(address).with_context(|| format!("reading the metrics of {address}"))?;
            all.frames += sum(&text, FRAMES);
            all.writes += sum(&text, WRITES);
        }
        Ok(all)
    }

    /// None if nothing was written.
    pub fn frames_per_write_since(&self, before: &Self) -> Option<f64> {
        let (frames, writes) = (self.frames - before.frames, self.writes - before.writes);
        (writes > 0.0).then_some(frames / writes)
    }
}

fn get(address: &str) -> Result<String> {
    let server = Server::parse(address)?;
    let mut stream = TcpStream::connect_timeout(&server.address, LIMIT)?;
    stream.set_read_timeout(Some(LIMIT))?;
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", server.authority);
    stream.write_all(request.as_bytes())?;
    let mut answer = String::new();
    stream.take(BYTES).read_to_string(&mut answer)?;
    match answer.split_once("\r\n\r\n") {
        Some((head, body)) if head.starts_with("HTTP/1.1 200") => Ok(body.to_owned()),
        _ => bail!("it answered {}", answer.lines().next().unwrap_or("nothing")),
    }
}

/// Of a metric, over its labels, in Prometheus' text form.
fn sum(text: &str, name: &str) -> f64 {
    let lines = text.lines().filter_map(|line| line.strip_prefix(name)).filter(|rest| rest.starts_with([' ', '{']));
    lines.filter_map(|rest| rest.rsplit(' ').next()?.parse::<f64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_shards_and_divided() {
        let text = "# TYPE x counter\nrookery_gateway_writes_total{shard=\"0\"} 3\nrookery_gateway_writes_total{shard=\"1\"} 4\nrookery_gateway_writes_total_more 9\n";
        assert_eq!(sum(text, WRITES), 7.0);
        let (before, after) = (Counts { frames: 10.0, writes: 5.0 }, Counts { frames: 70.0, writes: 15.0 });
        assert_eq!(after.frames_per_write_since(&before), Some(6.0));
        assert_eq!(after.frames_per_write_since(&after), None);
    }
}
