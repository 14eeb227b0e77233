//! A link while time passes: deadlines and silence, by a clock that stands still unless somebody waits for it.

use std::sync::atomic::AtomicBool;

use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio::time::{Instant, advance, sleep};

use super::super::book::{Admission, Live};
use super::super::error::GreetingError;
use super::super::run::Running;
use super::super::{greeting, session};
use super::*;

fn running(pki: &Pki, ears: &Arc<Ears>) -> Running {
    let peers = vec![PeerAddress { name: name("b"), address: "127.0.0.1:1".into() }];
    let config = LinkConfig { peers, ..pki.config("a") };
    let times = Times { ping: Duration::from_secs(3), silence: Duration::from_secs(12), ..times() };
    Running::new(config, Arc::clone(ears) as Arc<dyn Incoming>, times, Arc::new(|| THEN)).unwrap()
}

/// A link of `b`, and the other end of its connection.
fn link(pki: &Pki, running: &Running) -> (Arc<Live>, DuplexStream, DuplexStream) {
    let identity = pki.authority.issue(node(&["b"]));
    let chain = vec![CertificateDer::from_pem_slice(identity.certificate.as_bytes()).unwrap()];
    let live = Arc::new(Live::new(1, hello("b"), false, chain));
    assert!(matches!(running.book().admit(&running.me, &live, THEN), Admission::Up(None)));
    let (near, far) = duplex(1 << 20);
    (live, near, far)
}

#[tokio::test(start_paused = true)]
async fn whoever_says_nothing_in_the_handshake_is_let_go_in_time() {
    let pki = Pki::new();
    let running = running(&pki, &Arc::default());
    for sent in [&b""[..], b"\x16\x03\x01\x02\x00\x01"] {
        let (near, mut far) = duplex(1 << 16);
        far.write_all(sent).await.unwrap();
        let began = Instant::now();
        let refused = greeting::accept(&running, near).await.err().unwrap();
        assert!(matches!(refused, GreetingError::Late) && began.elapsed() == running.times.handshake);
    }
}

/// Bytes that trickle in, or pour in, before a certificate was shown.
#[tokio::test(start_paused = true)]
async fn a_stranger_is_listened_to_neither_long_nor_much() {
    let pki = Pki::new();
    let running = running(&pki, &Arc::default());
    let (near, mut far) = duplex(1 << 20);
    let record = [&[0x16, 3, 1, 0x40, 0][..], &[0; 0x4000]].concat();
    let pours = async {
        // A message of the handshake that says it is as long as can be, and never ends.
        let mut first = record.clone();
        first[5..9].copy_from_slice(&[1, 0, 0xff, 0xff]);
        let _ = far.write_all(&first).await;
        for _ in 0..64 {
            if far.write_all(&record).await.is_err() {
                break;
            }
        }
        far
    };
    let (refused, _far) = tokio::join!(greeting::accept(&running, near), pours);
    assert!(matches!(refused, Err(GreetingError::Io(_))));
    let (near, mut far) = duplex(1 << 20);
    let done = AtomicBool::new(false);
    let trickles = async {
        for byte in record.iter().cycle() {
            if done.load(Ordering::SeqCst) || far.write_all(&[*byte]).await.is_err() {
                break;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    let accepts = async {
        let refused = greeting::accept(&running, near).await;
        done.store(true, Ordering::SeqCst);
        refused
    };
    let (refused, ()) = tokio::join!(accepts, trickles);
    assert!(refused.is_err());
}

#[tokio::test(start_paused = true)]
async fn a_peer_that_falls_silent_is_down_and_one_that_answers_is_not() {
    let pki = Pki::new();
    let ears = Arc::default();
    let running = running(&pki, &ears);
    let (live, near, far) = link(&pki, &running);
    let (mut reader, mut writer) = tokio::io::split(far);
    let began = Instant::now();
    let answers = async {
        // Ten pings are answered, and no more.
        let (mut decoder, mut buffer, mut left) = (Decoder::new(), [0; 64], 10);
        loop {
            let Ok(count @ 1..) = reader.read(&mut buffer).await else { return left };
            decoder.put(&buffer[..count]);
            while let Some(frame) = decoder.frame().unwrap() {
                assert_eq!(frame.kind, Kind::Ping);
                if left > 0 {
                    left -= 1;
                    writer.write_all(&encode(Kind::Pong, &frame.payload)).await.unwrap();
                }
            }
        }
    };
    let (why, left) = tokio::join!(session::run(&running, &live, near, Decoder::new()), answers);
    assert!(why.contains("nothing was heard of the peer for 12 seconds") && left == 0, "{why}");
    assert_eq!(began.elapsed(), Duration::from_secs(30 + 12), "ten pings, and the silence after them");
}

#[tokio::test(start_paused = true)]
async fn pings_are_answered_and_what_may_be_skipped_is() {
    let pki = Pki::new();
    let ears: Arc<Ears> = Arc::default();
    let running = running(&pki, &ears);
    let (live, near, mut far) = link(&pki, &running);
    let peer = async {
        for bytes in [encode(Kind::Skippable, b"later"), encode(Kind::Ping, b"12345"), encode(Kind::Data, b"data")] {
            far.write_all(&bytes).await.unwrap();
        }
        let (mut decoder, mut buffer) = (Decoder::new(), [0; 64]);
        let pong = loop {
            let count = far.read(&mut buffer).await.unwrap();
            decoder.put(&buffer[..count]);
            if let Some(frame) = decoder.frame().unwrap() {
                break frame;
            }
        };
        assert_eq!(pong, Frame { kind: Kind::Pong, payload: b"12345".to_vec() });
        drop(far);
    };
    let (why, ()) = tokio::join!(session::run(&running, &live, near, Decoder::new()), peer);
    assert_eq!(why, "the peer closed the connection");
    assert_eq!(ears.heard(), [Heard::Frame("b".into(), b"data".to_vec())]);
}

/// A link that gave way hands nothing on any more, though its frames are there already.
#[tokio::test(start_paused = true)]
async fn a_link_that_gave_way_is_not_listened_to() {
    let pki = Pki::new();
    let ears: Arc<Ears> = Arc::default();
    let running = running(&pki, &ears);
    let (live, near, mut far) = link(&pki, &running);
    far.write_all(&encode(Kind::Data, b"late")).await.unwrap();
    let newer = Arc::new(Live::new(2, Hello { session: [8; 16], ..hello("b") }, false, live.chain.clone()));
    assert!(matches!(running.book().admit(&running.me, &newer, THEN), Admission::Up(Some(_))));
    let why = session::run(&running, &live, near, Decoder::new()).await;
    assert!(why.contains("takes its place") && ears.heard().is_empty(), "{why}");
    advance(Duration::from_secs(1)).await;
    assert!(running.book().is_current(&newer) && !running.book().end(&live, &why, THEN));
}
