//! One link while it is up: frames in, frames out, and an eye on both.
//!
//! Invariants: it ends with a reason, whatever happens; frames are handed on only while the link is the one that counts; a peer that is silent
//! too long, whose certificate is not good any more, or that must give way is let go at the latest at the next look.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use super::book::Live;
use super::frame::{Decoder, Frame, FrameError, HEADER_LEN, Kind};
use super::run::Running;

/// Bytes taken at a time.
const READ: usize = 16 << 10;
/// Longest ping that is answered, bytes.
const PING_MAX: usize = 64;

/// Why a link ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("the peer closed the connection")]
    Closed,
    #[error("the peer sent what is no frame of ours: {0}")]
    Frame(#[from] FrameError),
    #[error("the peer sent a second hello")]
    Hello,
    #[error("nothing was heard of the peer for {0} seconds")]
    Silence(u64),
    #[error("its certificate is not good any more: {0}")]
    Certificate(String),
    #[error("{0}")]
    Cut(String),
}

/// Runs a link to its end; says why it ended.
pub async fn run<S>(running: &Running, live: &Arc<Live>, stream: S, mut decoder: Decoder) -> String
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    decoder.greeted();
    let (reader, writer) = tokio::io::split(stream);
    // First of all whether it has to end.
    let end = tokio::select! {
        biased;
        end = watch(running, live) => end,
        end = read(running, live, reader, decoder) => end,
        end = write(running, live, writer) => end,
    };
    end.to_string()
}

async fn read<S>(running: &Running, live: &Live, mut reader: S, mut decoder: Decoder) -> End
where
    S: AsyncRead + Unpin,
{
    let mut buffer = vec![0; READ];
    loop {
        match decoder.frame() {
            Ok(Some(frame)) => {
                if let Some(end) = take(running, live, frame) {
                    return end;
                }
            }
            Ok(None) => match reader.read(&mut buffer).await {
                Ok(0) => return End::Closed,
                Ok(count) => {
                    live.hear();
                    decoder.put(&buffer[..count]);
                }
                Err(error) => return error.into(),
            },
            Err(error) => return error.into(),
        }
    }
}

/// Does with a frame what it is for.
fn take(running: &Running, live: &Live, frame: Frame) -> Option<End> {
    if let Some(why) = live.is_cut() {
        return Some(End::Cut(why));
    }
    let (now, bytes) = (running.now(), frame.payload.len() as u64);
    let is_data = frame.kind == Kind::Data;
    running.book().note(&live.peer, |state| {
        state.heard = now;
        state.received_frames += u64::from(is_data);
        state.received_bytes += if is_data { bytes } else { 0 };
    });
    match frame.kind {
        Kind::Data => {
            if !running.tell(|driver| driver.frame(&live.peer, frame.payload)) {
                return Some(End::Cut("what arrived could not be handled".into()));
            }
        }
        Kind::Ping => live.outbox.put_own(Kind::Pong, &frame.payload[..frame.payload.len().min(PING_MAX)]),
        Kind::Pong | Kind::Skippable => {}
        Kind::Hello => return Some(End::Hello),
        Kind::Refused => return Some(End::Cut(format!("it refused: {}", super::hello::shown(&frame.payload)))),
    }
    None
}

async fn write<S>(running: &Running, live: &Live, mut writer: S) -> End
where
    S: AsyncWrite + Unpin,
{
    loop {
        let next = match live.outbox.take() {
            Some(next) => next,
            None => {
                // Nothing else waits: what was written goes out.
                if let Err(error) = writer.flush().await {
                    return error.into();
                }
                live.outbox.next().await
            }
        };
        let (bytes, is_data) = next;
        if let Err(error) = writer.write_all(&bytes).await {
            return error.into();
        }
        if is_data {
            running.book().note(&live.peer, |state| {
                state.sent_frames += 1;
                state.sent_bytes += (bytes.len() - HEADER_LEN) as u64;
            });
        }
    }
}

/// Pings, and looks whether the link may go on: at every tick, and whenever something changes.
async fn watch(running: &Running, live: &Live) -> End {
    let times = running.times;
    let mut changes = running.changes();
    let mut ticks = interval_at(Instant::now() + times.ping, times.ping);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        if let Some(why) = live.is_cut() {
            return End::Cut(why);
        }
        if let Some(why) = running.is_stopping() {
            return End::Cut(why.into());
        }
        if let Err(why) = running.trust().judge(&live.chain, &live.peer, live.dialled, running.now()) {
            return End::Certificate(why);
        }
        let silent = live.heard().elapsed();
        if silent >= times.silence {
            return End::Silence(silent.as_secs());
        }
        tokio::select! {
            _ = ticks.tick() => live.outbox.put_own(Kind::Ping, &[]),
            changed = changes.changed() => if changed.is_err() {
                return End::Cut("the links are gone".into());
            },
        }
    }
}
