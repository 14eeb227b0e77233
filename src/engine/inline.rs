//! Running a disk operation on the calling thread, through the [`Disk`](super::Disk) trait. It blocks.

use std::io;

use super::Op;

/// Runs a disk operation to its end. A socket operation is refused: it has no disk.
pub(super) fn run(op: &mut Op) -> io::Result<usize> {
    if !op.in_bounds() {
        return Err(io::ErrorKind::InvalidInput.into());
    }
    match op {
        Op::Read { disk, offset, buf, range } => disk.read_at(*offset, &mut buf[range.clone()]).map(|()| range.len()),
        Op::Write { disk, offset, data, range, dsync } => {
            let data = &data[range.clone()];
            let stored = match dsync {
                true => disk.write_through_at(*offset, data),
                false => disk.write_at(*offset, data),
            };
            stored.map(|()| range.len())
        }
        Op::Flush { disk } => disk.flush().map(|()| 0),
        Op::Punch { disk, offset, len } => disk.punch(*offset, *len).map(|()| 0),
        Op::ZeroRange { disk, offset, len } => disk.zero_range(*offset, *len).map(|()| 0),
        Op::Recv { .. } | Op::Send { .. } => Err(io::ErrorKind::InvalidInput.into()),
    }
}
