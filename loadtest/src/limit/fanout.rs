//! Bare fan-out: one thread writes a pre-encoded buffer of 1, 3 or 10 frames to many loopback sockets in turn, another
//! drains them. No codec, no queue, no decision: what any gateway's fan-out can be compared with.

use anyhow::{Context, Result};
use rustix::event::epoll;
use rustix::time::{ClockId, clock_gettime};
use serde::Serialize;
use shared::clock;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::os::fd::OwnedFd;
use std::time::Duration;

const FRAMES_A_WRITE: [usize; 3] = [1, 3, 10];
const SCRATCH_BYTES: usize = 256 * 1024;

#[derive(Debug, Serialize)]
pub struct Fanout {
    pub frames_a_write: usize,
    /// Frames that reached the reader, per second of the whole run.
    pub deliveries_per_s: f64,
    /// Per second of the writing thread's own processor time: the limit of one core.
    pub deliveries_per_writer_core: f64,
    pub writer_us_per_delivery: f64,
}

/// One measurement of the given length for each number of frames in a write.
pub fn measure(sockets: usize, frame_bytes: usize, length: Duration) -> Result<Vec<Fanout>> {
    let pairs = || Pairs::open(sockets).with_context(|| format!("opening {sockets} pairs of sockets"));
    FRAMES_A_WRITE.into_iter().map(|frames| pairs()?.measure(frames, frame_bytes, length)).collect()
}

struct Pairs {
    writers: Vec<TcpStream>,
    readers: Vec<TcpStream>,
    epoll: OwnedFd,
}

impl Pairs {
    fn open(sockets: usize) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let address = listener.local_addr()?;
        let epoll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        let (mut writers, mut readers) = (Vec::new(), Vec::new());
        for n in 0..sockets {
            let reader = TcpStream::connect(address)?;
            let (writer, _) = listener.accept()?;
            writer.set_nodelay(true)?;
            reader.set_nonblocking(true)?;
            epoll::add(&epoll, &reader, epoll::EventData::new_u64(n as u64), epoll::EventFlags::IN)?;
            writers.push(writer);
            readers.push(reader);
        }
        Ok(Self { writers, readers, epoll })
    }

    fn measure(self, frames: usize, frame_bytes: usize, length: Duration) -> Result<Fanout> {
        let Self { writers, readers, epoll } = self;
        let buffer = vec![b'x'; frames * frame_bytes];
        let started = clock::monotonic();
        let (used, read) = std::thread::scope(|scope| {
            let writing = scope.spawn(move || write(&writers, &buffer, length));
            let reading = scope.spawn(move || drain(readers, &epoll));
            (writing.join(), reading.join())
        });
        let used = used.map_err(|_| anyhow::anyhow!("the writing thread panicked"))??;
        let read = read.map_err(|_| anyhow::anyhow!("the reading thread panicked"))??;
        let elapsed = started.elapsed();
        let deliveries = read as f64 / frame_bytes as f64;
        Ok(Fanout {
            frames_a_write: frames,
            deliveries_per_s: deliveries / elapsed.as_secs_f64(),
            deliveries_per_writer_core: deliveries / used.as_secs_f64().max(1e-9),
            writer_us_per_delivery: used.as_secs_f64() * 1e6 / deliveries.max(1.0),
        })
    }
}

/// Writes to all in turn until the time is up; returns the thread's own processor time.
fn write(writers: &[TcpStream], buffer: &[u8], length: Duration) -> Result<Duration> {
    let before = thread_time();
    let deadline = clock::monotonic() + length;
    while clock::monotonic() < deadline {
        for mut writer in writers {
            writer.write_all(buffer)?;
        }
    }
    writers.iter().try_for_each(|writer| writer.shutdown(Shutdown::Write))?;
    Ok(thread_time().saturating_sub(before))
}

/// Reads until every socket has ended; returns the bytes.
fn drain(readers: Vec<TcpStream>, epoll: &OwnedFd) -> Result<u64> {
    let mut open = readers.len();
    let mut readers: Vec<Option<TcpStream>> = readers.into_iter().map(Some).collect();
    let mut ready: Vec<epoll::Event> = Vec::with_capacity(256);
    let mut scratch = vec![0; SCRATCH_BYTES];
    let mut total = 0;
    while open > 0 {
        ready.clear();
        epoll::wait(epoll, rustix::buffer::spare_capacity(&mut ready), None)?;
        for event in &ready {
            let slot = &mut readers[event.data.u64() as usize];
            let Some(reader) = slot else { continue };
            match reader.read(&mut scratch) {
                Ok(0) => {
                    *slot = None;
                    open -= 1;
                }
                Ok(bytes) => total += bytes as u64,
                Err(e) if e.kind() == ErrorKind::WouldBlock => {}
                Err(e) => return Err(e.into()),
            }
        }
    }
    Ok(total)
}

/// Processor time of the calling thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), time.tv_nsec as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_written_is_read() {
        let lines = measure(8, 100, Duration::from_millis(20)).unwrap();
        assert_eq!(lines.iter().map(|line| line.frames_a_write).collect::<Vec<_>>(), FRAMES_A_WRITE);
        assert!(lines.iter().all(|line| line.deliveries_per_s > 0.0 && line.writer_us_per_delivery > 0.0));
    }
}
