//! What Transit says, as it was seen to say it, and what is made of it; and answers that no Transit gives.

use crate::keys::KeyErrorClass as Class;
use crate::keys::vault::{TransitQuestion as Asked, decrypted, encrypted, facts, refusal};

#[test]
fn refusals_are_told_apart() {
    for (asked, status, words, class) in [
        (Asked::Decrypt, 400, "cipher: message authentication failed", Class::Tampered),
        (Asked::Decrypt, 400, "invalid ciphertext length", Class::Tampered),
        (Asked::Decrypt, 400, "invalid ciphertext: version is too new", Class::Tampered),
        (Asked::Decrypt, 400, "missing 'context' for key derivation; the key was created", Class::Tampered),
        (Asked::Decrypt, 400, "ciphertext or signature version is disallowed by policy (too old)", Class::Disabled),
        (Asked::Decrypt, 400, "encryption key not found", Class::Disabled),
        (Asked::Decrypt, 400, "refusing to use soft-deleted key", Class::Disabled),
        (Asked::Encrypt, 400, "refusing to use soft-deleted key", Class::Disabled),
        (Asked::Encrypt, 400, "message encryption not supported for key type ed25519", Class::Usage),
        (Asked::Encrypt, 400, "something new", Class::Usage),
        (Asked::Facts, 404, "", Class::Disabled),
        (Asked::Facts, 404, "no handler for route \"x/keys/k\". route entry not found.", Class::Disabled),
        (Asked::Encrypt, 403, "permission denied", Class::Denied),
        (Asked::Login, 400, "invalid role or secret ID", Class::Denied),
        (Asked::Login, 403, "permission denied", Class::Denied),
        (Asked::Login, 404, "no handler for route", Class::Denied),
        (Asked::Decrypt, 503, "Vault is sealed", Class::Sealed),
        (Asked::Login, 503, "OpenBao is sealed", Class::Sealed),
        (Asked::Decrypt, 503, "no active node", Class::Unreachable),
        (Asked::Decrypt, 501, "", Class::Sealed),
        (Asked::Decrypt, 429, "request path \"transit/decrypt/k\": rate limit quota exceeded", Class::Throttled),
        (Asked::Decrypt, 500, "internal error", Class::Unreachable),
        (Asked::Decrypt, 500, "failed to RSA decrypt: crypto/rsa: decryption error", Class::Tampered),
        (Asked::Encrypt, 500, "crypto/rsa: message too long for RSA key size", Class::Unreachable),
        (Asked::Decrypt, 502, "", Class::Unreachable),
        (Asked::Decrypt, 307, "", Class::Unreachable),
    ] {
        let body = format!("{{\"errors\":[{}]}}", serde_json::to_string(words).unwrap());
        let found = refusal(asked, status, body.as_bytes());
        assert_eq!((found.class, found.words.as_str()), (class, words), "{asked:?} {status} {words}");
    }
}

#[test]
fn a_keepers_words_are_cut_short_and_printable() {
    let words = |text: &str| {
        let body = format!("{{\"errors\":[{}]}}", serde_json::to_string(text).unwrap());
        refusal(Asked::Decrypt, 500, body.as_bytes()).words
    };
    assert_eq!(words("a\u{1b}[31m\r\nb\u{202e}c  d"), "a [31m b c d");
    assert_eq!(words("1 error occurred:\n\t* permission denied\n\n"), "permission denied");
    assert!(words(&"x".repeat(10_000)).len() <= 200);
    assert_eq!(refusal(Asked::Decrypt, 500, b"<html>").to_string(), "it has trouble of its own");
    let told = refusal(Asked::Decrypt, 500, br#"{"errors":["internal error"]}"#).to_string();
    assert_eq!(told, "it has trouble of its own (it says: internal error)");
}

#[test]
fn answers_of_the_real_one_are_read() {
    let body =
        br#"{"request_id":"31883c3b-3936-b005-9798-2ceac36f92eb","lease_id":"","renewable":false,"lease_duration":0,
        "data":{"ciphertext":"vault:v12:ZSH0TKYK","key_version":12},"wrap_info":null,"warnings":null,"auth":null}"#;
    let made = encrypted(body).unwrap();
    assert_eq!((made.version, made.bytes.len()), (12, 6));
    assert_eq!(made.request_id.as_deref(), Some("31883c3b-3936-b005-9798-2ceac36f92eb"));

    let (key, request) = decrypted(br#"{"request_id":"a-1","data":{"plaintext":"AQID"},"auth":null}"#).ok().unwrap();
    assert_eq!((key.expose(), request.as_deref()), (&[1, 2, 3][..], Some("a-1")));

    let known = facts(
        br#"{"data":{"type":"aes256-gcm96","derived":true,"latest_version":2,"min_decryption_version":1,
        "soft_deleted":false,"supports_encryption":true,"keys":{"1":1795872929}}}"#,
    );
    let known = known.unwrap();
    assert_eq!((known.kind.as_str(), known.derived, known.latest_version), ("aes256-gcm96", true, 2));
}

#[test]
fn answers_that_no_transit_gives_are_refused() {
    let long = format!(r#"{{"data":{{"ciphertext":"vault:v1:{}"}}}}"#, "A".repeat(8000));
    for body in [
        "",
        "null",
        "[]",
        "{}",
        r#"{"data":null}"#,
        r#"{"data":{}}"#,
        r#"{"data":{"ciphertext":7}}"#,
        r#"{"data":{"ciphertext":""}}"#,
        r#"{"data":{"ciphertext":"vault:v:AAAA"}}"#,
        r#"{"data":{"ciphertext":"vault:v0:AAAA"}}"#,
        r#"{"data":{"ciphertext":"vault:v-1:AAAA"}}"#,
        r#"{"data":{"ciphertext":"vault:v99999999999:AAAA"}}"#,
        r#"{"data":{"ciphertext":"vault:v1:"}}"#,
        r#"{"data":{"ciphertext":"vault:v1:!!!!"}}"#,
        r#"{"data":{"ciphertext":"vault:v1:AAAA","ciphertext":"vault:v1:BBBB"}}"#,
        &long,
    ] {
        assert!(encrypted(body.as_bytes()).is_err(), "{body}");
    }
    let long = format!(r#"{{"data":{{"plaintext":"{}"}}}}"#, "A".repeat(8000));
    for body in [
        r#"{"data":{"plaintext":""}}"#,
        r#"{"data":{"plaintext":"AA"}}"#,
        r#"{"data":{"plaintext":"\u0041AAA"}}"#,
        &long,
    ] {
        assert!(decrypted(body.as_bytes()).is_err(), "{body}");
    }
    let strange = decrypted(br#"{"request_id":"a b\n","data":{"plaintext":"AQID"}}"#);
    assert!(strange.is_err() || strange.ok().is_some_and(|(_, request)| request.is_none()));
}
