//! What a shard costs over the bare system call: the same frames to the same sockets, once by a plain `write(2)` loop
//! and once through `Shards::deliver`, in turns, read by the same reader thread.
//! `cargo run --profile plain -p gateway --example fanout_limit -- [sockets] [frame bytes] [tenths of a second a run]`
//!
//! Two figures each: deliveries per second by the clock, and CPU time of the writing thread per delivery. The second is
//! the fairer one where reader and writer share few cores. Like is compared with like: each round is read whole before
//! the next begins, so that a shard writes as many frames at once as the loop does. The last lines let rounds overlap,
//! and the shard gathers what it finds.

use bytes::Bytes;
use gateway::shard::codec::text_frame;
use gateway::shard::{Class, Close, Closed, Config, ConnId, Cx, Delivery, Message, Sessions, Shards};
use mio::{Events, Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Bytes under way where rounds overlap: enough to keep everybody busy, and too few to fill a socket.
const WINDOW: u64 = 4 << 20;
const ROOM: usize = 10;
/// Of each kind, in turns; the medians are shown.
const RUNS: usize = 9;

struct Mute(Sender<ConnId>);

impl Sessions for Mute {
    type Session = ();
    type Note = ();

    fn opened(&mut self, cx: &mut Cx<'_>, _: &mut ()) {
        // The receiver counts; when it has seen all it is gone.
        let _ = self.0.send(cx.id());
    }

    fn message(&mut self, _: &mut Cx<'_>, _: &mut (), _: Message<'_>) {}
    fn note(&mut self, _: &mut Cx<'_>, _: &mut (), _: ()) {}
    fn lagging(&mut self, _: &mut Cx<'_>, _: &mut ()) {}
    fn beat(&mut self, _: &mut Cx<'_>, _: &mut ()) {}
    fn deadline(&mut self, _: &mut Cx<'_>, _: &mut ()) {}
    fn closed(&mut self, _: ConnId, _: (), _: Closed) {}
}

fn say(line: std::fmt::Arguments<'_>) -> anyhow::Result<()> {
    Ok(writeln!(std::io::stdout(), "{line}")?)
}

/// On-CPU time of one thread of ours.
fn cpu(task: &str) -> anyhow::Result<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/self/task/{task}/schedstat"))?;
    Ok(Duration::from_nanos(stat.split(' ').next().unwrap_or("0").parse()?))
}

fn thread_named(name: &str) -> anyhow::Result<String> {
    for task in std::fs::read_dir("/proc/self/task")? {
        let id = task?.file_name().to_string_lossy().into_owned();
        if std::fs::read_to_string(format!("/proc/self/task/{id}/comm"))?.trim() == name {
            return Ok(id);
        }
    }
    anyhow::bail!("no thread {name}")
}

fn pairs(count: usize) -> anyhow::Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let (mut near, mut far) = (Vec::new(), Vec::new());
    for _ in 0..count {
        far.push(TcpStream::connect(listener.local_addr()?)?);
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        near.push(socket);
    }
    Ok((near, far))
}

/// Reads everything from all of these, for ever, and counts the bytes.
fn reader(far: Vec<TcpStream>, read: Arc<AtomicU64>) -> anyhow::Result<()> {
    let mut poll = Poll::new()?;
    let mut sockets = Vec::new();
    for (n, socket) in far.into_iter().enumerate() {
        socket.set_nonblocking(true)?;
        let mut socket = mio::net::TcpStream::from_std(socket);
        poll.registry().register(&mut socket, Token(n), Interest::READABLE)?;
        sockets.push(socket);
    }
    let (mut events, mut buffer) = (Events::with_capacity(4_096), vec![0; 256 << 10]);
    loop {
        poll.poll(&mut events, None)?;
        for event in &events {
            match sockets[event.token().0].read(&mut buffer) {
                Ok(0) => {}
                Ok(bytes) => drop(read.fetch_add(bytes as u64, Relaxed)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
            }
        }
    }
}

fn write(socket: &mut &TcpStream, frames: &[u8]) {
    socket.write_all(frames).expect("the window keeps a socket from filling");
}

struct Run {
    deliveries: u64,
    took: Duration,
    writer: Duration,
}

impl Run {
    fn rate(&self) -> f64 {
        self.deliveries as f64 / self.took.as_secs_f64()
    }

    fn each(&self) -> f64 {
        self.writer.as_nanos() as f64 / self.deliveries as f64
    }
}

fn median(runs: &[Run], of: impl Fn(&Run) -> f64) -> f64 {
    let mut values: Vec<f64> = runs.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// A round writes `bytes` in `deliveries`; before the next, all but `window` bytes have been read.
struct Round {
    bytes: u64,
    deliveries: u64,
    window: u64,
}

fn measure(
    seconds: f64,
    read: &AtomicU64,
    task: &str,
    &Round { bytes, deliveries, window }: &Round,
    mut round: impl FnMut() -> anyhow::Result<()>,
) -> anyhow::Result<Run> {
    let (start, before, base) = (Instant::now(), cpu(task)?, read.load(Relaxed));
    let mut rounds = 0;
    while start.elapsed().as_secs_f64() < seconds {
        round()?;
        rounds += 1;
        while rounds * bytes > read.load(Relaxed) - base + window {
            std::thread::sleep(Duration::from_micros(50));
        }
    }
    while read.load(Relaxed) - base < rounds * bytes {
        std::thread::yield_now();
    }
    Ok(Run { deliveries: rounds * deliveries, took: start.elapsed(), writer: cpu(task)? - before })
}

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1).map(|argument| argument.parse::<usize>());
    let sockets = arguments.next().transpose()?.unwrap_or(1_000).next_multiple_of(ROOM);
    let size = arguments.next().transpose()?.unwrap_or(200);
    let seconds = arguments.next().transpose()?.unwrap_or(5) as f64 / 10.0;
    let (near, far) = pairs(sockets)?;
    let read = Arc::new(AtomicU64::new(0));
    let counted = Arc::clone(&read);
    let failed = Arc::new(Mutex::new(None));
    let failure = Arc::clone(&failed);
    std::thread::spawn(move || *failure.lock().expect("one writer") = reader(far, counted).err());
    // A thread of its own, as a shard is one: so both are woken, and neither has to watch the other's progress.
    let bare: Vec<TcpStream> = near.iter().map(TcpStream::try_clone).collect::<Result<_, _>>()?;
    let (go, rounds) = channel::<Arc<[u8]>>();
    let name = std::thread::Builder::new().name("loop".to_owned());
    name.spawn(move || {
        rounds.iter().for_each(|frames| bare.iter().for_each(|mut socket| write(&mut socket, &frames)))
    })?;
    let (sender, opened) = channel();
    // The far ends answer no pings.
    let config = Config { heartbeat: Duration::from_secs(3_600), ..Config::default() };
    let shards = Shards::start(1, config, move |_| Mute(sender.clone()))?;
    near.into_iter()
        .try_for_each(|socket| shards.adopt(socket, Bytes::new(), ()))
        .map_err(|_| anyhow::anyhow!("stopped"))?;
    let mut ids: Vec<ConnId> = opened.iter().take(sockets).collect();
    ids.sort_unstable();
    let rooms: Vec<Arc<[ConnId]>> = ids.chunks(ROOM).map(Arc::from).collect();
    let (loop_, shard) = (thread_named("loop")?, thread_named("shard-0")?);
    say(format_args!("{sockets} sockets, rooms of {ROOM}, frames of {size} bytes"))?;
    say(format_args!(
        "frames a write | bare write(2)/s   ns CPU | shard deliveries/s   ns CPU | ratio by clock, by CPU"
    ))?;
    for (frames, window) in [(1, 0), (2, 0), (4, 0), (10, 0), (30, 0), (1, WINDOW), (4, WINDOW)] {
        let frame = text_frame(&vec![b'x'; size - 4]);
        let many: Arc<[u8]> = frame.repeat(frames).into();
        let (bytes, deliveries) = ((many.len() * sockets) as u64, (frames * sockets) as u64);
        let (mut plain, mut ours) = (Vec::new(), Vec::new());
        for _ in 0..RUNS {
            let round = Round { bytes, deliveries, window };
            plain.push(measure(seconds, &read, &loop_, &round, || Ok(go.send(Arc::clone(&many))?))?);
            ours.push(measure(seconds, &read, &shard, &round, || {
                let message = |to: &Arc<[ConnId]>| {
                    let bytes = Bytes::copy_from_slice(&frame);
                    Delivery { bytes, events: 1, class: Class::Durable, to: Arc::clone(to) }
                };
                shards.deliver((0..frames).flat_map(|_| rooms.iter().map(message)).collect());
                Ok(())
            })?);
        }
        let (rates, cpus) =
            ([&plain, &ours].map(|runs| median(runs, Run::rate)), [&plain, &ours].map(|runs| median(runs, Run::each)));
        say(format_args!(
            "{frames:6}{:8} | {:15.0}   {:6.0} | {:18.0}   {:6.0} | {:.2}, {:.2}",
            if window > 0 { " overlap" } else { "" },
            rates[0],
            cpus[0],
            rates[1],
            cpus[1],
            rates[1] / rates[0],
            cpus[0] / cpus[1]
        ))?;
    }
    if let Some(error) = failed.lock().expect("one writer").take() {
        return Err(error.context("the reader"));
    }
    shards.stop(Close { code: 1001, reason: "over" });
    Ok(())
}
