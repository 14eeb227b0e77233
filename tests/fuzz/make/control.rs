//! What operators write: URIs, key files, arguments, configuration, control requests, audit logs.

use super::texts;
use crate::support::golden::keks;
use crate::support::sealed::secret;
use keymoult::keys::WrapPurpose;
use keymoult::units::{Generation, VolumeId};

pub fn uris() -> Vec<Vec<u8>> {
    texts(&[
        "file:/etc/keymoult/kek",
        "file:///etc/keymoult/kek",
        "file:////double",
        "file://host/kek",
        "file:",
        "file:relative",
        "passphrase:",
        "passphrase:file=/run/p",
        "passphrase:hunter2 hunter2 hunter2",
        "pkcs11:token=t;object=o;pin-value=12345678901234567890",
        "pkcs11:token=my%20kek;id=%01%ff;object=g1;slot-id=7?module-name=softhsm2&pin-source=fd:3&mechanism=kw",
        "pkcs11:serial=0123456789abcdef;object=g1;type=secret-key?module-path=/m.so&pin-source=file:///p&kek-id=pkcs11:0;id=01",
        "pkcs11:token=t;object=%0?module-path=/m.so",
        "passphrase:fd=3",
        "systemd-cred:kek",
        "systemd-cred:../etc/passwd-0123456789",
        "vault://host:8200/transit/key",
        "vault://host:8200/a/transit/key?ca=/ca&cert=/c&key=/k&role=r&namespace=n/m&auth=cert2&timeout=3",
        "vault://host/transit/key?token-file=/t",
        "vault+http://[::1]:1/transit/key?role-id-file=/r&secret-id-file=/s",
        "vault://user:hunter2hunter2hunter2@host/transit/key?token=hunter2hunter2hunter2",
        "kmip://host/7?ca=/ca&cert=/c&key=/k&timeout=120",
        "/etc/kek",
        "nothing",
        ":",
    ])
}

pub fn key_files() -> Vec<Vec<u8>> {
    let mut all = texts(&["", "\n", "correct horse\n", "two\nlines\n", "dos\r\n", "keymoult-kek-v1:"]);
    let key = format!("keymoult-kek-v1:{}\n", "0123456789abcDEF".repeat(4));
    all.extend([key.trim_end(), &key, &(key.clone() + "\n"), &key.replace('a', "g")].map(|text| text.into()));
    all.push(vec![b'x'; 1024]);
    all.push(vec![b'x'; 1025]);
    all
}

pub fn blobs() -> Vec<Vec<u8>> {
    let purpose = WrapPurpose { volume: VolumeId([3; 16]), generation: Generation(1), key_id: [4; 16], suite: 0 };
    let wrap = keks()[0].wrap(&purpose, &secret(32, 8)).unwrap();
    let recipe =
        |m: u32, t: u32, p: u8| [&[1, p, 0, 0][..], &m.to_le_bytes(), &t.to_le_bytes(), &[6; 16], &[5; 40]].concat();
    let as_passphrase = |blob: Vec<u8>| [&[1, 1, 0][..], &blob].concat();
    vec![
        [&[0, 1, 1][..], &wrap.blob].concat(),
        [&[0, 1, 1][..], &wrap.blob[..wrap.blob.len() - 8]].concat(),
        [&[0, 0, 1][..], &wrap.blob].concat(),
        as_passphrase(recipe(64 << 10, 3, 4)),
        as_passphrase(recipe(u32::MAX, u32::MAX, 255)),
        as_passphrase(recipe(8, 1, 1)),
        as_passphrase(recipe(1 << 20, 32, 16)),
        vec![0; 40],
    ]
}

pub fn arguments() -> Vec<Vec<u8>> {
    texts(&[
        "volume\ncreate\n/v\n--size\n10GiB\n--kek\nfile:/k\n--extent-size\n64KiB\n--sector-size\n512\n--max-size\n1TiB",
        "volume\ncreate\n/v\n--kek\nx\n--cipher\nnone\n--i-know-this-is-plaintext\n--mode\njournal",
        "volume\ninfo\n/v\n--header\n/h",
        "volume\ncheck\n/v\n--kek\nfile:/k\n--full\n--repair\n--json",
        "serve\na=/v\n/w.km\n--kek\nfile:/k\n--header\na=/h\n--nbd\ntcp:[::1]:10809\n--nbd\nunix:/s\n--workers\n4",
        "serve\n/v\n--kek\nfile:/k\n--nbd\ntcp:0.0.0.0:1\n--insecure\n--io\nposix\n--cache\ndirect\n--crypto-engine\nportable",
        "status\nv\n--watch\n--interval\n0.5\n--control\nunix:/c",
        "rotate\nstart\nv\n--rate\n200MiB/s\n--order\nranges\n--range\n0..1GiB\n--verify\nsample:0.05\n--reason\nwhy",
        "rotate\npace\nv\n--rate\nunlimited",
        "rotate\nrollback\nv\n--reason\nx",
        "rotate\nwait\nv\n--timeout\n10",
        "key\nlist\nv",
        "audit\nverify\n--log\n/l\n--expect-head\n3:ffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff",
        "audit\nshow\n--after\n3\n--limit\n10",
        "help\nsizes",
        "speed",
        "--help",
        "volume\ncreate\n/v\n--size\n18446744073709551615PiB\n--kek\nx",
    ])
}

pub fn configurations() -> Vec<Vec<u8>> {
    texts(&[
        "nbd = [\"unix:/s\", \"tcp:127.0.0.1:10809\"]\nkek = [\"file:/k\"]\nstate-dir = \"/d\"\n\
         [[volume]]\nname = \"a\"\npath = \"/v\"\nheader = \"/h\"\nread-only = true\nkek = [\"passphrase:\"]\n",
        "kek = [\"file:/k\"]\nworkers = 4\nio = \"ring\"\ncrypto-engine = \"portable\"\ncache = \"page\"\n\
         control = \"unix:/c\"\n[[volume]]\npath = \"/v.km\"\n[[volume]]\npath = \"/w.km\"\n",
        "insecure = true\nnbd = [\"tcp:0.0.0.0:1\"]\nread-only = true\nvolume = [{ path = \"/v\", kek = [\"x\"] }]\n",
        "workers = 0\n",
        "volume = 1",
        "[[volume]]\npath = \"/v\"\nsweet = 1\n",
        "",
    ])
}

pub fn bodies() -> Vec<Vec<u8>> {
    let mut all = Vec::new();
    for (kind, text) in [
        (0u8, r#"{"suite":"aes-256-xts","order":{"kind":"ranges","ranges":[{"first":0,"end":65536}]},"reason":"r"}"#),
        (
            0,
            r#"{"pace":{"bytes_per_s":1048576,"adaptive":true,"factor":2.5},"verify":"sample:0.05","hold_finalize":true}"#,
        ),
        (0, ""),
        (0, "[null,\"sequential\"]"),
        (1, r#"{"pace":{"adaptive":false,"factor":1e999}}"#),
        (2, r#"{"verify":"full","reason":null}"#),
        (3, r#"{"reason":"\ud83d\ude00"}"#),
        (3, r#"{"unknown":1}"#),
        (
            4,
            r#"{"version":"1","pid":1,"started":"","io":{"name":"ring","features":[],"lost":[]},"crypto_engine":"aws-lc","unlocked_secret_bytes":0,"lost":[],"volumes":[]}"#,
        ),
        (5, r#"{"volumes":[]}"#),
        (6, r#"{"volume":"v","keys":[]}"#),
        (7, r#"{"records":[],"head":{"sequence":0,"hash":""}}"#),
        (9, r#"{"volume":"v","from":1,"to":2}"#),
        (10, r#"{"kind":"newer-than-this","what":"w","hint":"h"}"#),
        (10, r#"{"error":{"kind":"io","what":"w"}}"#),
    ] {
        all.push([&[kind][..], text.as_bytes()].concat());
    }
    all
}

/// Lines whose hash the target adds; `@` stands for the hash before.
pub fn logs() -> Vec<Vec<u8>> {
    let line = |sequence: u64, kind: &str, more: &str| {
        format!(
            "{{\"sequence\":{sequence},\"time\":\"2026-01-01T00:00:00Z\",\"kind\":\"{kind}\",\"actor\":{{\"uid\":0}},\
             \"verb\":\"rotate-start\",\"object\":\"volume v\",\"decision\":\"allowed\",\"rule\":\"solo\"{more},\
             \"previous\":\"@\"}}\n"
        )
    };
    let log = [
        line(1, "note", ",\"outcome\":\"started\""),
        line(2, "intent", ",\"parameters\":\"sha256:00\",\"reason\":\"why\""),
        line(3, "outcome", ",\"intent\":2,\"outcome\":\"done\""),
        line(4, "denied", ""),
        line(5, "recovered", ""),
    ];
    let whole = log.concat();
    let mut all = texts(&["", "{}\n", "\n", "torn", "1:00", &whole, &whole[..whole.len() - 9]]);
    all.push([log[0].clone(), log[2].clone()].concat().into());
    all.push(line(2, "note", "").into());
    all.push(line(1, "note", "").replace('@', "0").into());
    all
}
