//! A bad line between two nodes: a TCP proxy that delays, stalls, swallows, chops and breaks what passes.
//!
//! Invariants: bytes that pass keep their order; nothing is made up; every connection through it ends when it is dropped. What
//! a rule says holds for connections that exist and for those to come.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// How often a thread looks whether the rules have changed.
const GLANCE: Duration = Duration::from_millis(10);
/// Most bytes that are passed on at once.
const GULP: usize = 64 << 10;

/// What becomes of the bytes of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Passage {
    /// They pass.
    Open,
    /// They are not even read: the sender's buffers fill.
    Stalled,
    /// They are read and forgotten; the connection stays. A half-open line.
    Swallowed,
}

/// How the line behaves.
#[derive(Clone, Copy, Debug)]
pub struct Line {
    /// From whoever connects.
    pub forth: Passage,
    /// To whoever connects.
    pub back: Passage,
    /// How long each gulp is held.
    pub delay: Duration,
    /// Most bytes of a gulp: small ones tear every frame apart.
    pub gulp: usize,
    /// Whether connections are accepted at all.
    pub accepts: bool,
}

impl Line {
    /// A good line.
    pub const GOOD: Line =
        Line { forth: Passage::Open, back: Passage::Open, delay: Duration::ZERO, gulp: GULP, accepts: true };
}

struct State {
    line: Mutex<Line>,
    ends: Mutex<Vec<TcpStream>>,
    /// Bytes that may still pass before the line breaks; [`u64::MAX`]: it does not.
    left: AtomicU64,
    passed: AtomicU64,
    over: AtomicBool,
}

/// A line to one address; everything through it ends when this is dropped.
pub struct Proxy {
    address: SocketAddr,
    state: Arc<State>,
}

impl Proxy {
    /// A good line to `target`, at a port of the loopback address.
    pub fn to(target: SocketAddr) -> Proxy {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        Proxy::from(listener, target)
    }

    /// A good line from whoever connects to `listener`.
    pub fn from(listener: TcpListener, target: SocketAddr) -> Proxy {
        let address = listener.local_addr().unwrap();
        let state = Arc::new(State {
            line: Mutex::new(Line::GOOD),
            ends: Mutex::default(),
            left: AtomicU64::new(u64::MAX),
            passed: AtomicU64::new(0),
            over: AtomicBool::new(false),
        });
        listener.set_nonblocking(true).unwrap();
        let shared = Arc::clone(&state);
        thread::spawn(move || accept(&listener, target, &shared));
        Proxy { address, state }
    }

    /// Where to connect.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// From now on the line is like this.
    pub fn set(&self, line: Line) {
        *self.state.line.lock().unwrap() = line;
    }

    /// Breaks all connections, wherever they are.
    pub fn sever(&self) {
        self.state.sever();
    }

    /// Breaks all connections once so many more bytes have passed, most likely within a frame.
    pub fn sever_after(&self, bytes: u64) {
        self.state.left.store(bytes, Ordering::SeqCst);
    }

    /// Bytes that have passed so far, both directions together.
    pub fn passed(&self) -> u64 {
        self.state.passed.load(Ordering::SeqCst)
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.state.over.store(true, Ordering::SeqCst);
        self.sever();
    }
}

impl State {
    fn sever(&self) {
        for end in self.ends.lock().unwrap().drain(..) {
            let _ = end.shutdown(Shutdown::Both); // it may have ended by itself
        }
    }

    fn is_over(&self) -> bool {
        self.over.load(Ordering::SeqCst)
    }

    /// How many of `len` bytes may still pass; the line is broken after the last one.
    fn admit(&self, len: usize) -> usize {
        let take = |left: u64| (left != u64::MAX).then(|| left.saturating_sub(len as u64));
        match self.left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, take) {
            Ok(left) => len.min(usize::try_from(left).unwrap()),
            Err(_) => len,
        }
    }
}

fn accept(listener: &TcpListener, target: SocketAddr, state: &Arc<State>) {
    while !state.is_over() {
        let accepts = state.line.lock().unwrap().accepts;
        match listener.accept() {
            Ok((near, _)) if accepts => join(near, target, state),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(GLANCE),
            Err(error) => panic!("the proxy does not accept: {error}"),
        }
    }
}

fn join(near: TcpStream, target: SocketAddr, state: &Arc<State>) {
    let Ok(far) = TcpStream::connect_timeout(&target, Duration::from_secs(5)) else {
        return; // the caller sees a connection that ends at once
    };
    for end in [&near, &far] {
        end.set_nonblocking(false).unwrap();
        end.set_nodelay(true).unwrap();
        end.set_read_timeout(Some(GLANCE)).unwrap();
    }
    state.ends.lock().unwrap().extend([near.try_clone().unwrap(), far.try_clone().unwrap()]);
    let (near2, far2) = (near.try_clone().unwrap(), far.try_clone().unwrap());
    let (forth, back) = (Arc::clone(state), Arc::clone(state));
    thread::spawn(move || pass(near, far, &forth, |line| line.forth));
    thread::spawn(move || pass(far2, near2, &back, |line| line.back));
}

/// Carries one direction of a connection to its end.
fn pass(mut from: TcpStream, mut to: TcpStream, state: &State, passage: fn(&Line) -> Passage) {
    let mut buffer = vec![0; GULP];
    while let Some(line) = open(state, passage) {
        let len = match from.read(&mut buffer[..line.gulp.clamp(1, GULP)]) {
            Ok(0) => break,
            Ok(len) => len,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
            Err(_) => break,
        };
        // The rules may have changed while nothing came.
        let Some(line) = open(state, passage) else { break };
        if passage(&line) == Passage::Swallowed {
            continue;
        }
        thread::sleep(line.delay);
        let admitted = state.admit(len);
        if to.write_all(&buffer[..admitted]).is_err() {
            break;
        }
        state.passed.fetch_add(admitted as u64, Ordering::SeqCst);
        if admitted < len {
            state.left.store(u64::MAX, Ordering::SeqCst);
            state.sever();
        }
    }
    let _ = to.shutdown(Shutdown::Write); // it may have ended by itself
}

/// The line as soon as it is not stalled in that direction; none once all is over.
fn open(state: &State, passage: fn(&Line) -> Passage) -> Option<Line> {
    while !state.is_over() {
        let line = *state.line.lock().unwrap();
        if passage(&line) != Passage::Stalled {
            return Some(line);
        }
        thread::sleep(GLANCE);
    }
    None
}
