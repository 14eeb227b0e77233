//! Everything the control API answers: each route of its own description, with sense and without.

use super::needles::Heap;
use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// Bodies that are refused, each in its own way.
const NONSENSE: &[&str] = &["", "{", "[]", "{\"no such\": 1}", "{\"reason\": 7}", "{\"suite\": \"aes-512\"}"];

/// One request on a connection of its own; head and body of the answer.
pub fn ask(socket: &Path, method: &str, path: &str, body: &str) -> Vec<u8> {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(60))).unwrap();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nHost: keymoult\r\nConnection: close\r\nContent-Type: application/json\r\n\
         Content-Length: {}\r\n\r\n{body}",
        body.len()
    );
    stream.write_all(request.as_bytes()).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// Asks everything the description lists, and what it does not list; returns how many routes there are.
pub fn ask_everything(socket: &Path, heap: &mut Heap) -> usize {
    let description = ask(socket, "GET", "/v1/openapi.json", "");
    let text = String::from_utf8(description).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text[text.find("\r\n\r\n").unwrap()..]).unwrap();
    let mut routes = 0;
    for (path, methods) in json["paths"].as_object().unwrap() {
        for method in
            methods.as_object().unwrap().keys().filter(|name| ["get", "post", "put", "delete"].contains(&name.as_str()))
        {
            routes += 1;
            let method = method.to_uppercase();
            for volume in ["vol", "none", "../vol"] {
                let path = path.replace("{volume}", volume);
                let place = format!("answer to {method} {path}");
                if method == "GET" {
                    heap.add(&place, ask(socket, &method, &path, ""));
                } else {
                    NONSENSE.iter().for_each(|body| heap.add(&place, ask(socket, &method, &path, body)));
                }
            }
        }
    }
    heap.add("answer to nothing known", ask(socket, "GET", "/v2/keys", ""));
    heap.add("answer about metrics", ask(socket, "GET", "/metrics", ""));
    routes
}
