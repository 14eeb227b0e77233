//! KEK URIs. Promises: what is accepted names a file or a prompt and, written again, is read as the same; what is refused
//! is not repeated in the message beyond its scheme, unless it is a path.

use keymoult::keys::KekUri;

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    match text.parse::<KekUri>() {
        Ok(uri) => assert_eq!(uri.to_string().parse::<KekUri>().ok(), Some(uri)),
        Err(error) => {
            let said = error.to_string();
            let (scheme, secret) = text.split_once(':').unwrap_or(("", ""));
            // What is said of any other text under this scheme gives nothing away, though it may read alike.
            let other = format!("{scheme}:{}", "0".repeat(20)).parse::<KekUri>();
            let always = other.map_or_else(|error| error.to_string(), |_| String::new());
            assert!(secret.len() < 16 || always.contains(secret) || !said.contains(secret), "{said}");
        }
    }
}
