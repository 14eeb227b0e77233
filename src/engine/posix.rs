//! The dull twin of the ring: disk operations run when submitted, by pread and pwrite on the calling thread; sockets are
//! tried without waiting and then polled. Fallback where io_uring is refused, and the oracle the ring is tested against.

use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use super::{Done, Engine, EngineError, EngineReport, EngineStats, Op, Waker, inline, sys};

/// Most parts handed to one sendmsg.
const PARTS: usize = 64;

/// The engine of pread, pwrite and poll.
pub struct PosixEngine {
    waker: Waker,
    /// Finished, to be handed out by the next `wait`.
    finished: Vec<Done>,
    sockets: Vec<Waiting>,
    /// Scratch: the waker, then one entry per element of `sockets`.
    polled: Vec<libc::pollfd>,
    stats: EngineStats,
    lost: Vec<String>,
}

/// A socket operation under way.
struct Waiting {
    token: u64,
    op: Op,
    /// Bytes sent so far.
    moved: usize,
    /// Worth trying: new, or poll said so.
    ready: bool,
}

impl PosixEngine {
    /// An engine with nothing to do; `lost` is what the report says it does without.
    pub fn new(lost: Vec<String>) -> Result<PosixEngine, EngineError> {
        let waker = Waker::new().map_err(|source| EngineError::Setup { what: "eventfd", source })?;
        Ok(PosixEngine {
            waker,
            finished: Vec::new(),
            sockets: Vec::new(),
            polled: Vec::new(),
            stats: EngineStats::default(),
            lost,
        })
    }

    /// Tries every socket operation that may make progress.
    fn try_sockets(&mut self) {
        let mut index = 0;
        while index < self.sockets.len() {
            let waiting = &mut self.sockets[index];
            match waiting.ready.then(|| waiting.attempt()).flatten() {
                Some(result) => {
                    let Waiting { token, op, .. } = self.sockets.swap_remove(index);
                    self.finished.push(Done { token, result, op });
                }
                None => {
                    self.stats.continued += u64::from(waiting.ready && waiting.moved > 0);
                    waiting.ready = false;
                    index += 1;
                }
            }
        }
    }

    /// Polls the waker and all sockets; true if woken.
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<bool> {
        self.polled.clear();
        self.polled.push(entry(self.waker.raw(), libc::POLLIN));
        self.polled.extend(self.sockets.iter().map(Waiting::poll_entry));
        self.stats.enters += 1;
        match sys::poll(&mut self.polled, timeout) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(false),
            other => other?,
        };
        for (waiting, entry) in self.sockets.iter_mut().zip(&self.polled[1..]) {
            waiting.ready = entry.revents != 0;
        }
        let woken = self.polled[0].revents != 0;
        if woken {
            self.waker.take()?;
            self.stats.wakes += 1;
        }
        Ok(woken)
    }
}

impl Engine for PosixEngine {
    fn submit(&mut self, token: u64, mut op: Op) {
        self.stats.count(&op);
        if op.disk().is_some() {
            self.stats.inlined += 1;
            let result = inline::run(&mut op);
            self.finished.push(Done { token, result, op });
        } else {
            self.sockets.push(Waiting { token, op, moved: 0, ready: true });
        }
    }

    fn wait(&mut self, timeout: Option<Duration>, done: &mut Vec<Done>) -> io::Result<()> {
        let deadline = timeout.map(|timeout| Instant::now() + timeout);
        self.try_sockets();
        loop {
            let left = deadline.map(|deadline| deadline.saturating_duration_since(Instant::now()));
            let at_once = !self.finished.is_empty();
            let woken = self.poll(if at_once { Some(Duration::ZERO) } else { left })?;
            self.try_sockets();
            if woken || !self.finished.is_empty() || left == Some(Duration::ZERO) {
                done.append(&mut self.finished);
                return Ok(());
            }
        }
    }

    fn has_finished(&self) -> bool {
        !self.finished.is_empty()
    }

    fn pending(&self) -> usize {
        self.finished.len() + self.sockets.len()
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn report(&self) -> EngineReport {
        EngineReport { name: "posix", features: vec!["pread", "pwrite", "poll"], lost: self.lost.clone() }
    }

    fn stats(&self) -> EngineStats {
        self.stats
    }
}

impl Waiting {
    /// Moves what can be moved without waiting; `None` if the operation is not finished by that.
    fn attempt(&mut self) -> Option<io::Result<usize>> {
        if !self.op.in_bounds() {
            return Some(Err(io::ErrorKind::InvalidInput.into()));
        }
        loop {
            let finished = match &mut self.op {
                Op::Recv { .. } => receive(&mut self.op),
                _ => send(&self.op, &mut self.moved),
            };
            match finished {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
                other => return Some(other),
            }
        }
    }

    fn poll_entry(&self) -> libc::pollfd {
        match &self.op {
            Op::Recv { socket, .. } => entry(socket.raw(), libc::POLLIN),
            Op::Send { socket, .. } => entry(socket.raw(), libc::POLLOUT),
            // Disk operations never wait here; a negative descriptor is one that poll skips.
            _ => entry(-1, 0),
        }
    }
}

fn entry(fd: i32, events: i16) -> libc::pollfd {
    libc::pollfd { fd, events, revents: 0 }
}

fn receive(op: &mut Op) -> io::Result<usize> {
    let Op::Recv { socket, first, rest } = op else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let rest = &mut rest.0[rest.1.clone()];
    let first: &mut [u8] = match first {
        Some((buf, range)) => &mut buf[range.clone()],
        None => &mut [],
    };
    if first.is_empty() && rest.is_empty() {
        return Err(io::ErrorKind::InvalidInput.into()); // its 0 would look like the peer's end
    }
    sys::receive(socket.as_fd(), &mut [IoSliceMut::new(first), IoSliceMut::new(rest)])
}

/// Sends until all is gone; `moved` counts across calls.
fn send(op: &Op, moved: &mut usize) -> io::Result<usize> {
    let Op::Send { socket, parts } = op else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    loop {
        let mut skip = *moved;
        let mut slices = [IoSlice::new(&[]); PARTS];
        let mut count = 0;
        for (data, range) in parts {
            if skip >= range.len() {
                skip -= range.len();
                continue;
            }
            let Some(slot) = slices.get_mut(count) else {
                break;
            };
            *slot = IoSlice::new(&data[range.start + skip..range.end]);
            skip = 0;
            count += 1;
        }
        if count == 0 {
            return Ok(*moved);
        }
        *moved += sys::send(socket.as_fd(), &slices[..count])?;
    }
}
