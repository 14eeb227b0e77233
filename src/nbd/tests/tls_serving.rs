//! The server over TLS: data, clients' certificates, violations, truncation, the way it ends.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustls::ClientConfig;

use super::super::audience::{Audience, TlsMode};
use super::super::bounds::Bounds;
use super::super::server::Config;
use super::super::wire::*;
use super::super::{Entrance, Exports, Listen, NbdError, start};
use super::certificates::{Authority, Identity, Says, write};
use super::client::{Client, FORMS, Got, pattern, request};
use super::memory::{MemoryBackend, Rig, Setup};
use super::script::{FIXED, Script, info_data};
use super::tls_pki::{DATA, Forger, Pki, VERSIONS};

/// A server that requires TLS.
fn serve(pki: &Pki) -> Rig {
    serve_with(pki, Config::default())
}

fn serve_with(pki: &Pki, config: Config) -> Rig {
    let config = Config { tls: pki.keeper(), workers: 2, ..config };
    Setup { config, tls: TlsMode::Required, ..Setup::default() }.start()
}

/// Stops the server; every buffer must be back.
fn stop(rig: &Rig) {
    assert!(rig.server.stop());
    assert_eq!(rig.pool.usage().taken, 0);
}

/// Whether a client comes through, the handshake and one read included.
fn welcome(rig: &Rig, config: &Arc<ClientConfig>) -> bool {
    let mut client = Client::secure(rig, config);
    let go = Script::default().option(NBD_OPT_GO, &info_data("v", &[]));
    client.try_send(&go.0).is_ok() && client.read_exactly(&mut [0; 20]).is_ok()
}

#[test]
fn data_of_every_size_come_back_in_every_form_and_version() {
    let pki = Pki::new();
    let rig = serve(&pki);
    for version in VERSIONS {
        for form in FORMS {
            let mut client = Client::open_tls(&rig, form, &pki.anonymous(version));
            assert_eq!(client.size, 64 << 20);
            for len in [1, 511, 4096, 16 << 10, (16 << 10) + 1, 100_000, 1 << 20, (3 << 20) + 12345] {
                let (offset, data) = (len as u64 * 3 + 5, pattern(len, len as u64));
                assert_eq!(client.write(offset, &data), 0);
                assert_eq!(client.read(offset, len as u32).unwrap(), data, "{version:?} {form:?} {len}");
                assert_eq!(rig.volume.contents(offset as usize..offset as usize + len), data);
            }
        }
    }
    stop(&rig);
}

#[test]
fn many_requests_at_once_are_answered_in_full() {
    let pki = Pki::new();
    let rig = serve(&pki);
    let data = pattern(8 << 20, 5);
    for (version, len) in VERSIONS.into_iter().flat_map(|version| [(version, 4096), (version, 256 << 10)]) {
        let mut client = Client::open_tls(&rig, FORMS[0], &pki.anonymous(version));
        // As many as the server takes up from a client that reads no answer; what more is sent counts on what sockets hold.
        let at_once = Bounds::default().requests;
        let cookies: Vec<u64> = (0..(data.len() / len) as u64).collect();
        let piece = |cookie: u64| &data[cookie as usize * len..][..len];
        for cookies in cookies.chunks(at_once) {
            for &cookie in cookies {
                client.send(&request(NBD_CMD_WRITE, 0, cookie, cookie * len as u64, len as u32));
                client.send(piece(cookie));
            }
            let mut answers: Vec<(u32, u64)> = cookies.iter().map(|_| client.status()).collect();
            answers.sort_unstable();
            assert_eq!(answers, cookies.iter().map(|cookie| (0, *cookie)).collect::<Vec<_>>());
        }
        for cookies in cookies.chunks(at_once) {
            cookies.iter().for_each(|&cookie| client.request(NBD_CMD_READ, 0, cookie, cookie * len as u64, len as u64));
            for _ in cookies {
                let (error, cookie) = client.status();
                assert_eq!(error, 0);
                assert!(client.receive(len) == piece(cookie), "{version:?} {cookie}");
            }
        }
    }
    stop(&rig);
}

#[test]
fn a_small_pool_slows_down_and_loses_nothing() {
    let pki = Pki::new();
    let bounds = Bounds { held_in_all: 8 << 20, ..Bounds::default() };
    let config = Config { bounds, tls: pki.keeper(), ..Config::default() };
    let rig = Setup { pool: 20 << 20, config, tls: TlsMode::Required, ..Setup::default() }.start();
    let config = pki.anonymous(VERSIONS[1]);
    std::thread::scope(|scope| {
        for seat in 0..6u64 {
            let (rig, config) = (&rig, &config);
            scope.spawn(move || {
                let mut client = Client::open_tls(rig, FORMS[1], config);
                for round in 0..4 {
                    let (offset, data) = (seat << 23, pattern(5 << 20, seat * 10 + round));
                    assert_eq!(client.write(offset, &data), 0);
                    assert!(client.read(offset, 5 << 20).unwrap() == data);
                }
            });
        }
    });
    stop(&rig);
}

#[test]
fn keys_change_in_the_middle_of_transmission() {
    let pki = Pki::new();
    let rig = serve(&pki);
    let mut client = Client::open_tls(&rig, FORMS[0], &pki.anonymous(VERSIONS[1]));
    for round in 0..8 {
        client.tls.as_mut().unwrap().refresh_traffic_keys().unwrap();
        let data = pattern(40_000, round);
        assert_eq!(client.write(round * 7777, &data), 0);
        assert_eq!(client.read(round * 7777, 40_000).unwrap(), data);
    }
    stop(&rig);
}

#[test]
fn bytes_behind_starttls_in_plaintext_end_the_connection() {
    let rig = serve(&Pki::new());
    for behind in [&b"\0"[..], b"IHAVEOPT\0\0\0\x03\0\0\0\0", &[22, 3, 1, 0, 5]] {
        let mut client = Client::silent(&rig);
        client.receive(18);
        client.send(&Script::new(FIXED).option(NBD_OPT_STARTTLS, &[]).raw(behind).0);
        assert!(client.is_closed(), "not even the option is answered");
    }
    assert_eq!(rig.server.stats().handshakes_failed, 3);
    stop(&rig);
}

#[test]
fn plaintext_instead_of_tls_gets_an_alert_and_the_end() {
    let rig = serve(&Pki::new());
    let mut client = Client::silent(&rig);
    client.receive(18);
    client.send(&Script::new(FIXED).option(NBD_OPT_STARTTLS, &[]).0);
    client.receive(20);
    client.send(&Script::default().option(NBD_OPT_LIST, &[]).0);
    let mut answer = Vec::new();
    // The end may come as a reset, as there is input nobody reads.
    let _ = client.stream.read_to_end(&mut answer);
    assert_eq!((answer.first(), answer.len()), (Some(&21), 7), "{answer:?}");
    assert_eq!(rig.server.stats().handshakes_failed, 1);
    stop(&rig);
}

#[test]
fn a_slow_tls_handshake_is_cut_off() {
    let pki = Pki::new();
    let bounds = Bounds { handshake_time: Duration::from_secs(1), ..Bounds::default() };
    let rig = serve_with(&pki, Config { bounds, ..Config::default() });
    let mut patient = Client::open_tls(&rig, FORMS[0], &pki.anonymous(VERSIONS[1]));
    let slow = |rest: &[u8]| {
        let mut client = Client::silent(&rig);
        client.receive(18);
        client.send(&Script::new(FIXED).option(NBD_OPT_STARTTLS, &[]).0);
        client.receive(20);
        client.send(rest);
        client
    };
    // Silence, half a hello, and a handshake that is finished without an option after it.
    let mut finished = Client::secure(&rig, &pki.anonymous(VERSIONS[1]));
    finished.send(&Script::default().header(NBD_OPT_LIST, 100).0);
    for mut client in [slow(&[]), slow(&[22, 3, 1, 1, 0, 1, 0, 0, 0xfc])] {
        assert!(client.is_closed());
    }
    assert!(finished.read_exactly(&mut [0; 1]).is_err());
    assert_eq!(patient.read(0, 1), Ok(vec![0]), "transmission has no such deadline");
    assert_eq!(rig.server.stats().handshakes_failed, 3);
    stop(&rig);
}

#[test]
fn a_client_shows_a_certificate_that_is_good_for_clients() {
    let pki = Pki::new().with_clients();
    let rig = serve(&pki);
    let good = pki.authority.issue(Says::client("alice"));
    let expired = pki.authority.issue(Says { expired: true, ..Says::client("alice") });
    let unmarked = pki.authority.issue(Says { for_clients: false, ..Says::client("alice") });
    let servers = pki.authority.issue(Says { common: "alice", ..Says::server() });
    let both = pki.authority.issue(Says { for_servers: true, ..Says::client("alice") });
    let strangers = Authority::new("stranger").issue(Says::client("alice"));
    // Another authority of the same name.
    let impostors = Authority::new("authority").issue(Says::client("alice"));
    for version in VERSIONS {
        let welcome = |identity: Option<&Identity>| welcome(&rig, &pki.client(version, identity));
        assert!(welcome(Some(&good)) && welcome(Some(&both)), "{version:?}");
        assert!(!welcome(None), "{version:?}: none");
        let bad = [&expired, &unmarked, &servers, &strangers, &impostors];
        for (index, identity) in bad.into_iter().enumerate() {
            assert!(!welcome(Some(identity)), "{version:?}: bad certificate {index}");
        }
    }
    assert_eq!(rig.server.stats().handshakes_failed, 2 * 6);
    stop(&rig);
}

#[test]
fn a_revoked_certificate_is_refused() {
    let mut pki = Pki::new().with_clients();
    pki.files.client_crl = Some(write(pki.folder.path(), "crl", &pki.authority.revoke(&[7])));
    let rig = serve(&pki);
    for version in VERSIONS {
        for (serial, expected) in [(6, true), (7, false)] {
            let identity = pki.authority.issue(Says { serial, ..Says::client("alice") });
            assert_eq!(welcome(&rig, &pki.client(version, Some(&identity))), expected, "{version:?} {serial}");
        }
    }
    stop(&rig);
}

#[test]
fn an_export_is_for_whom_it_names() {
    let pki = Pki::new().with_clients();
    let rig = serve(&pki);
    rig.export.set_audience(Audience::Named(vec!["bob".into()]));
    for version in VERSIONS {
        let ask = |name: &str| {
            let identity = pki.authority.issue(Says::client(name));
            let mut client = Client::secure(&rig, &pki.client(version, Some(&identity)));
            client.send(&Script::default().option(NBD_OPT_GO, &info_data("v", &[])).0);
            u32::from_be_bytes(client.receive(20)[12..16].try_into().unwrap())
        };
        assert_eq!((ask("bob"), ask("alice")), (NBD_REP_INFO, NBD_REP_ERR_UNKNOWN));
    }
    stop(&rig);
}

#[test]
fn new_files_are_for_new_connections() {
    let pki = Pki::new();
    let keeper = pki.keeper().unwrap();
    let config = Config { tls: Some(Arc::clone(&keeper)), ..Config::default() };
    let rig = Setup { config, tls: TlsMode::Required, ..Setup::default() }.start();
    let mut old = Client::open_tls(&rig, FORMS[0], &pki.anonymous(VERSIONS[1]));
    let other = Pki::new().with_clients();
    keeper.exchange(other.server());
    assert_eq!(old.write(5, b"still here"), 0);
    assert!(!welcome(&rig, &pki.anonymous(VERSIONS[1])), "another authority's certificate");
    assert!(!welcome(&rig, &other.anonymous(VERSIONS[1])), "certificates are needed now");
    let identity = other.authority.issue(Says::client("alice"));
    assert!(welcome(&rig, &other.client(VERSIONS[1], Some(&identity))));
    assert_eq!(old.read(5, 10).unwrap(), b"still here");
    stop(&rig);
}

#[test]
fn a_stream_that_is_cut_off_does_nothing_in_part() {
    let pki = Pki::new();
    let rig = serve(&pki);
    for version in VERSIONS {
        for (whole, goodbye) in [(false, false), (false, true), (true, false), (true, true)] {
            let mut client = Client::open_tls(&rig, FORMS[0], &pki.anonymous(version));
            let before = rig.volume.writes.load(Ordering::Relaxed);
            let mut message = request(NBD_CMD_WRITE, 0, 1, 0, 100_000);
            message.extend(pattern(if whole { 100_000 } else { 99_999 }, 1));
            client.send(&message);
            if goodbye {
                let tls = client.tls.as_mut().unwrap();
                tls.send_close_notify();
                tls.write_tls(&mut client.stream).unwrap();
            } else {
                client.stream.shutdown(Shutdown::Write).unwrap();
            }
            // Ends without an answer, or with one where the request was whole.
            let _ = client.stream.read_to_end(&mut Vec::new());
            let writes = rig.volume.writes.load(Ordering::Relaxed) - before;
            assert_eq!(writes, u64::from(whole), "{version:?} {goodbye}");
        }
    }
    stop(&rig);
}

#[test]
fn a_forged_record_ends_the_connection_and_nothing_of_it_is_done() {
    let pki = Pki::new();
    let rig = serve(&pki);
    for version in VERSIONS {
        let mut client = Client::open_tls(&rig, FORMS[0], &pki.anonymous(version));
        assert_eq!(client.write(0, &[1; 4096]), 0);
        let mut forger = Forger::new(client.tls.take().unwrap());
        let mut write = request(NBD_CMD_WRITE, 0, 2, 0, 4096);
        write.extend([2; 4096]);
        let mut record = forger.seal(DATA, &write);
        let last = record.len() - 1;
        record[last] ^= 1;
        client.stream.write_all(&record).unwrap();
        let _ = client.stream.read_to_end(&mut Vec::new());
        assert_eq!(rig.volume.contents(0..4096), [1; 4096]);
        // One that is not forged would have been taken.
        let mut client = Client::open_tls(&rig, FORMS[0], &pki.anonymous(version));
        client.read(0, 1).unwrap();
        let mut forger = Forger::new(client.tls.take().unwrap());
        client.stream.write_all(&forger.seal(DATA, &write)).unwrap();
        client.stream.read_exact(&mut [0; 5 + 16]).unwrap();
        assert_eq!(rig.volume.contents(0..4096), [2; 4096]);
    }
    stop(&rig);
}

#[test]
fn what_was_sent_before_disconnect_is_answered_and_the_end_is_said() {
    let pki = Pki::new();
    let rig = serve(&pki);
    for version in VERSIONS {
        let mut client = Client::open_tls(&rig, FORMS[2], &pki.anonymous(version));
        client.request(NBD_CMD_READ, 0, 1, 0, 3 << 20);
        client.request(NBD_CMD_FLUSH, 0, 2, 0, 0);
        client.request(NBD_CMD_DISC, 0, 3, 0, 0);
        let mut done = Vec::new();
        while done.len() < 2 {
            if let Got::Chunk { done: true, cookie, .. } = client.reply() {
                done.push(cookie);
            }
        }
        done.sort_unstable();
        assert_eq!(done, [1, 2]);
        assert!(client.is_closed(), "{version:?}: an end that is not said is an error");
    }
    stop(&rig);
}

/// Found in review: such a session waited for ever to send what it could not, first in line for everybody's buffers.
#[test]
fn garbage_behind_disconnect_does_not_keep_replies_waiting() {
    let pki = Pki::new();
    let rig = serve(&pki);
    for version in VERSIONS {
        let mut client = Client::open_tls(&rig, FORMS[0], &pki.anonymous(version));
        client.read(0, 1).unwrap();
        let mut forger = Forger::new(client.tls.take().unwrap());
        let read = request(NBD_CMD_READ, 0, 1, 0, 8 << 20);
        let mut bytes = [forger.seal(DATA, &read), forger.seal(DATA, &request(NBD_CMD_DISC, 0, 2, 0, 0))].concat();
        bytes.extend([DATA, 3, 3, 0, 64]);
        bytes.extend([7; 64]);
        client.stream.write_all(&bytes).unwrap();
        let end = client.stream.read_to_end(&mut Vec::new());
        assert!(end.is_ok() || end.is_err_and(|error| error.kind() == ErrorKind::ConnectionReset), "it hangs");
        let mut other = Client::open_tls(&rig, FORMS[0], &pki.anonymous(version));
        assert_eq!(other.write(0, &pattern(1 << 20, 1)), 0);
    }
    stop(&rig);
}

#[test]
fn stopping_says_so_over_tls_and_hostile_clients_do_not_hold_it_up() {
    let pki = Pki::new();
    let bounds = Bounds { drain_time: Duration::from_millis(1500), ..Bounds::default() };
    let rig = serve_with(&pki, Config { bounds, ..Config::default() });
    let config = pki.anonymous(VERSIONS[1]);
    let mut calm = Client::open_tls(&rig, FORMS[0], &config);
    let mut haggling = Client::secure(&rig, &config);
    haggling.send(&Script::default().option(NBD_OPT_LIST, &[]).0);
    let mut deaf = Client::open_tls(&rig, FORMS[0], &config);
    (0..64).for_each(|cookie| deaf.request(NBD_CMD_READ, 0, cookie, 0, 1 << 20));
    let mut half = Client::open_tls(&rig, FORMS[0], &config);
    half.send(&request(NBD_CMD_WRITE, 0, 1, 0, 1 << 20));
    let mut shaking = Client::silent(&rig);
    shaking.receive(18);
    shaking.send(&Script::new(FIXED).option(NBD_OPT_STARTTLS, &[]).0);
    shaking.receive(20);
    assert_eq!(calm.read(0, 1), Ok(vec![0]));
    assert!(rig.server.stop());
    assert!(calm.is_closed(), "said, not just done");
    assert!(shaking.is_closed());
    assert_eq!(rig.pool.usage().taken, 0);
}

#[test]
fn tls_without_a_certificate_is_refused_at_the_start() {
    let rig = Setup::default().start();
    let entrance = Entrance { tls: TlsMode::Allowed, ..Entrance::from(Listen::Unix(rig.dir.path().join("other"))) };
    let config = Config { listen: vec![entrance], ..Config::default() };
    let exports = Arc::new(Exports::new());
    let result = start(&config, &exports, &rig.pool, MemoryBackend::new);
    assert!(matches!(result, Err(NbdError::NoTls(address)) if address.ends_with("other")));
}
