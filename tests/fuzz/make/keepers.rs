//! What keepers elsewhere answer: as the real ones were seen to, and a step beside it.

use super::texts;
use keymoult::keys::kmip::Writer;

pub fn transit() -> Vec<Vec<u8>> {
    let of = |status: &str, body: &str| format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let made = r#"{"request_id":"31883c3b-3936-b005-9798-2ceac36f92eb","data":{"ciphertext":"vault:v1:ZSH0TKYK","key_version":1},"auth":null}"#;
    let opened = r#"{"request_id":"31883c3b","data":{"plaintext":"AQIDBA=="}}"#;
    let key = r#"{"data":{"type":"aes256-gcm96","derived":true,"latest_version":2,"min_decryption_version":1,"soft_deleted":false}}"#;
    let chunked =
        format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{:x}\r\n{opened}\r\n0\r\n\r\n", opened.len());
    texts(&[
        &of("200 OK", made),
        &of("200 OK", key),
        &of("403 Forbidden", r#"{"errors":["1 error occurred:\n\t* permission denied\n\n"]}"#),
        &of("400 Bad Request", r#"{"errors":["cipher: message authentication failed"]}"#),
        &of("204 No Content", ""),
        &chunked,
        "HTTP/1.0 503 \r\n\r\nsealed",
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        "HTTP/1.1 200 OK\r\nContent-Length: 18446744073709551615\r\n\r\n",
        made,
        opened,
        key,
        r#"{"errors":["\u001b[31m"]}"#,
    ])
}

pub fn kmip() -> Vec<Vec<u8>> {
    let refusal = |item: &mut Writer<'_>| {
        item.enumeration(0x42_005c, 0x20).enumeration(0x42_007f, 1).enumeration(0x42_007e, 0x100);
        item.text(0x42_007d, "Operation failed.");
    };
    let sealed = |item: &mut Writer<'_>| {
        item.enumeration(0x42_005c, 0x1f).enumeration(0x42_007f, 0);
        item.structure(0x42_007c, |payload| {
            payload
                .text(0x42_0094, "1")
                .bytes(0x42_00c2, &[7; 64])
                .bytes(0x42_003d, &[8; 12])
                .bytes(0x42_00ff, &[9; 16]);
        });
    };
    let plain = |item: &mut Writer<'_>| {
        item.enumeration(0x42_005c, 0x20).enumeration(0x42_007f, 0);
        item.structure(0x42_007c, |payload| {
            payload.text(0x42_0094, "1").bytes(0x42_00c2, &[7; 64]);
        });
    };
    let state = |item: &mut Writer<'_>| {
        item.enumeration(0x42_005c, 0x0b).enumeration(0x42_007f, 0);
        item.structure(0x42_007c, |payload| {
            payload.structure(0x42_0008, |attribute| {
                attribute.text(0x42_000a, "State").enumeration(0x42_000b, 2);
            });
        });
    };
    let operations = |item: &mut Writer<'_>| {
        item.enumeration(0x42_005c, 0x18).enumeration(0x42_007f, 0);
        item.structure(0x42_007c, |payload| {
            payload.enumeration(0x42_005c, 0x1f).enumeration(0x42_005c, 0x20);
        });
    };
    let deep = (0..40).fold(Vec::new(), |inside: Vec<u8>, _| {
        [&[0x42, 0, 0x7b, 1][..], &(inside.len() as u32).to_be_bytes(), &inside].concat()
    });
    vec![
        answer(refusal),
        answer(sealed),
        answer(plain),
        answer(state),
        answer(operations),
        deep,
        vec![0x42, 0, 0x7b, 1, 0xff, 0xff, 0xff, 0xff],
    ]
}

fn answer(item: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = [0; 1024];
    let mut writer = Writer::new(&mut buffer);
    writer.structure(0x42_007b, |message| {
        message.structure(0x42_007a, |header| {
            header.structure(0x42_0069, |version| {
                version.integer(0x42_006a, 1).integer(0x42_006b, 4);
            });
            header.integer(0x42_000d, 1);
        });
        message.structure(0x42_000f, item);
    });
    let length = writer.finish().unwrap_or_default();
    buffer[..length].to_vec()
}
