//! What somebody sends who claims to be a peer, after a byte that says in which pieces it arrives. Promises: frames do not depend
//! on how they are cut, and written again are the same; a hello that is read is written the same, within its bounds; what a
//! refusal says is shown as one short line; a line of public keys is read only as it would be written.

use keymoult::cluster::identity::NodePublic;
use keymoult::cluster::link::frame::{Decoder, FRAME_MAX, Frame, FrameError, GREETING_MAX, Kind, encode};
use keymoult::cluster::link::hello::{Hello, REASON_MAX, SOFTWARE_MAX, SUITES_MAX, shown};

pub fn run(bytes: &[u8]) {
    let Some((cut, rest)) = bytes.split_first() else { return };
    for greeted in [false, true] {
        let (whole, at_once) = frames(rest, rest.len().max(1), greeted);
        let (pieces, in_pieces) = frames(rest, usize::from(*cut) + 1, greeted);
        assert_eq!((&whole, &at_once), (&pieces, &in_pieces));
        whole.iter().for_each(|frame| judge(frame, greeted));
    }
    public(rest);
}

/// The frames of `bytes` that arrive in pieces of `piece` bytes, and how they ended.
fn frames(bytes: &[u8], piece: usize, greeted: bool) -> (Vec<Frame>, Option<FrameError>) {
    let (mut decoder, mut found) = (Decoder::new(), Vec::new());
    if greeted {
        decoder.greeted();
    }
    for part in bytes.chunks(piece) {
        decoder.put(part);
        loop {
            match decoder.frame() {
                Ok(Some(frame)) => found.push(frame),
                Ok(None) => break,
                Err(error) => return (found, Some(error)),
            }
        }
    }
    (found, None)
}

fn judge(frame: &Frame, greeted: bool) {
    assert!(frame.payload.len() <= if greeted { FRAME_MAX } else { GREETING_MAX });
    if frame.kind != Kind::Skippable {
        let mut decoder = Decoder::new();
        decoder.greeted();
        decoder.put(&encode(frame.kind, &frame.payload));
        assert_eq!(decoder.frame().as_ref(), Ok(&Some(frame.clone())));
    }
    if let Ok(hello) = Hello::decode(&frame.payload) {
        assert!(hello.version().is_some());
        assert!(hello.capabilities.suites.len() <= SUITES_MAX && hello.capabilities.software.len() <= SOFTWARE_MAX);
        let again = hello.encode();
        assert_eq!(again, frame.payload[..again.len()]);
        assert_eq!(Hello::decode(&again), Ok(hello));
    }
    let shown = shown(&frame.payload);
    assert!(shown.chars().count() <= REASON_MAX && !shown.chars().any(char::is_control));
}

fn public(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(public) = text.parse::<NodePublic>() {
        assert_eq!(public.to_string(), text);
    }
}
