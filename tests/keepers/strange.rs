//! Servers that are no keeper, or a broken one: each answer is refused in its class, in bounded time and memory.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Duration;

use keymoult::format::wrapped::Wrapped;
use keymoult::keys::{Kek, KeyErrorClass as Class, ProviderKind};

use crate::rules::{PURPOSE, kek, refused, story};
use crate::support::certificates::write;

/// A server on this machine that answers every connection with `answer`, which it then closes; how often it was asked.
struct Server {
    port: u16,
    asked: Arc<AtomicUsize>,
}

impl Server {
    fn start(answer: impl Fn(&mut TcpStream) + Send + 'static) -> Server {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let (port, asked) = (listener.local_addr().unwrap().port(), Arc::new(AtomicUsize::new(0)));
        let count = Arc::clone(&asked);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                count.fetch_add(1, Ordering::Relaxed);
                let mut request = [0; 4096];
                let _ = stream.read(&mut request);
                answer(&mut stream);
            }
        });
        Server { port, asked }
    }

    /// One that says `text`.
    fn saying(text: String) -> Server {
        Server::start(move |stream| drop(stream.write_all(text.as_bytes())))
    }

    /// The KEK `transit/k` there, which is given a second for each request.
    fn kek(&self, folder: &tempfile::TempDir) -> Kek {
        let token = write(folder.path(), "token", "s.token\n");
        kek(&format!("vault+http://127.0.0.1:{}/transit/k?timeout=1&token-file={}", self.port, token.display()))
    }
}

fn wrapped() -> Wrapped {
    Wrapped { provider: ProviderKind::Vault.id(), kek_id: "transit/k".into(), kek_version: 1, blob: vec![1; 60] }
}

fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn answers_that_are_none_are_refused_in_their_class() {
    let folder = tempfile::tempdir().unwrap();
    let plaintext = |text: &str| answer("200 OK", &format!("{{\"data\":{{\"plaintext\":\"{text}\"}}}}"));
    for (text, class, says) in [
        (String::new(), Class::Unreachable, "the connection broke before its answer was complete"),
        ("SSH-2.0-OpenSSH_9.2\r\n".into(), Class::Unreachable, "its answer makes no sense: it is no HTTP answer"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n{}".into(), Class::Unreachable, "the connection broke"),
        (answer("200 OK", "<html>Log in to the hotel</html>"), Class::Unreachable, "it is not what Transit says"),
        (answer("200 OK", "{}"), Class::Unreachable, "it is not what Transit says"),
        (plaintext("%%%"), Class::Unreachable, "its plaintext is no base64"),
        (plaintext(&"A".repeat(100_000)), Class::Unreachable, "its plaintext has no length that a key has"),
        (answer("200 OK", &"x".repeat(300_000)), Class::Unreachable, "it is longer than 256 KiB"),
        ("HTTP/1.1 200 OK\r\n\r\n".to_owned() + &"x".repeat(300_000), Class::Unreachable, "it is longer than 256 KiB"),
        (
            "HTTP/1.1 307 Temporary Redirect\r\nLocation: http://127.0.0.2/\r\nContent-Length: 0\r\n\r\n".into(),
            Class::Unreachable,
            "it points to another node",
        ),
        (answer("429 Too Many Requests", ""), Class::Throttled, "it asks to come back later"),
        (answer("503 Service Unavailable", "busy"), Class::Unreachable, "it has trouble of its own"),
        (answer("503 Service Unavailable", r#"{"errors":["Vault is sealed"]}"#), Class::Sealed, "it is sealed"),
        (answer("403 Forbidden", r#"{"errors":["permission denied"]}"#), Class::Denied, "it denies us the use"),
        (
            answer("400 Bad Request", r#"{"errors":["cipher: message authentication failed"]}"#),
            Class::Tampered,
            "the wrap does not open",
        ),
    ] {
        let server = Server::saying(text.clone());
        let error = refused(server.kek(&folder).unwrap(&PURPOSE, &wrapped()));
        let told = story(&error);
        assert_eq!(error.class(), class, "{text:.80}: {told}");
        assert!(told.contains(says), "{text:.80}: {told}");
        let asked = server.asked.load(Ordering::Relaxed);
        assert_eq!(asked > 1, class.is_retryable(), "{text:.80}: asked {asked} times");
    }
}

/// Two halves alike are no XTS key, whoever unwrapped it.
#[test]
fn a_key_that_no_suite_can_use_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let plaintext = "A".repeat(84) + "AA==";
    let server = Server::saying(answer("200 OK", &format!("{{\"data\":{{\"plaintext\":\"{plaintext}\"}}}}")));
    let error = refused(server.kek(&folder).unwrap(&PURPOSE, &wrapped()));
    assert!(story(&error).contains("Key_1 equals Key_2"), "{}", story(&error));
    assert_eq!(server.asked.load(Ordering::Relaxed), 1);
}

/// A byte now and then keeps no request alive beyond its time.
#[test]
fn a_keeper_that_dribbles_is_given_up_in_time() {
    let folder = tempfile::tempdir().unwrap();
    let server = Server::start(|stream| {
        for byte in "HTTP/1.1 200 OK\r\n".bytes().chain(std::iter::repeat(b'x')) {
            if stream.write_all(&[byte]).is_err() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
    });
    let error = refused(server.kek(&folder).unwrap(&PURPOSE, &wrapped()));
    assert_eq!((error.class(), error.to_string().ends_with("has not answered in time")), (Class::Unreachable, true));
}

#[test]
fn nobody_there_is_unreachable_and_a_name_without_address_too() {
    let folder = tempfile::tempdir().unwrap();
    let token = write(folder.path(), "token", "s.token\n").display().to_string();
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    for (uri, says) in [
        (format!("vault+http://127.0.0.1:{free}/transit/k?token-file={token}"), "cannot be reached"),
        (format!("vault://keeper.invalid:1/transit/k?timeout=5&token-file={token}"), ""),
    ] {
        let error = refused(kek(&uri).unwrap(&PURPOSE, &wrapped()));
        assert_eq!(error.class(), Class::Unreachable, "{}", story(&error));
        assert!(story(&error).contains(says), "{}", story(&error));
    }
}
