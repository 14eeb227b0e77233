//! What becomes of the pieces of a worker that is gone: at the deadline of a shutdown, or because its engine broke, or
//! because it panicked.
//!
//! Invariants: nobody waits for such a worker, neither at a gate nor for a flush. How a write or a flush ends that it had
//! on the device nobody will learn: writes stop, so that nothing builds on it. Such a write keeps its place in the gate,
//! since it may still land.

use std::sync::Arc;

use super::{Piece, PieceKind, Stage, leave_write};
use crate::volume::executor::Executor;
use crate::volume::inbox::Call;

/// The executor's worker is gone: its pieces leave their gates, and a flush that it was to do is done here.
pub fn abandon(executor: &mut Executor) {
    let calls = executor.inbox.close();
    let flushing = executor.flushing.take_all();
    let pieces = executor.pieces.take_all();
    let in_doubt = |piece: &Piece| piece.stage == Stage::Device && !matches!(piece.kind, PieceKind::Read { .. });
    let volume_of = |piece: &Piece| executor.requests.get(piece.request).map(|request| Arc::clone(&request.volume));
    let doubts = pieces.iter().filter(|(_, piece)| in_doubt(piece)).filter_map(|(_, piece)| volume_of(piece));
    for volume in doubts.chain(flushing.iter().map(|(_, volume)| Arc::clone(volume))) {
        volume.stop_writes("a worker ended with writes under way");
    }
    for (id, piece) in &pieces {
        let Some(volume) = volume_of(piece) else { continue };
        let called = |wanted: &Call| calls.iter().any(|(called, call)| called == id && call == wanted);
        match piece.stage {
            Stage::Device if !in_doubt(piece) => volume.gates.end_read(piece.extent),
            Stage::Parked if called(&Call::Admitted) => drop(leave_write(&volume, piece, Ok(None))),
            Stage::Head | Stage::Tail => drop(leave_write(&volume, piece, Ok(None))),
            _ if called(&Call::StartFlush) => volume.flush_for_group(),
            _ => {}
        }
    }
    for (_, volume) in flushing {
        if volume.flush_ended(Ok(())) && !volume.flushes.hand_over() {
            volume.flush_for_group();
        }
    }
}
