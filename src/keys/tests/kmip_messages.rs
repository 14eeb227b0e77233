//! KMIP messages: the specification's own examples, answers as a server gives them, and answers that none gives.

use crate::keys::kmip::{Kind, Operation, Reader, Sealed, State, Writer, response};

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    digits.chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn written(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = [0xee; 2048];
    let mut writer = Writer::new(&mut buffer);
    fill(&mut writer);
    let length = writer.finish().unwrap();
    buffer[..length].to_vec()
}

/// The examples of section 9.1.2 of the specification.
#[test]
fn the_examples_of_the_specification_are_written_and_read() {
    let integer = hex("42 00 20 02 00 00 00 04 00 00 00 08 00 00 00 00");
    assert_eq!(
        written(|w| {
            w.integer(0x42_0020, 8);
        }),
        integer
    );
    assert_eq!(Reader::new(&integer).item().unwrap().unwrap().integer(), Ok(8));
    let enumeration = hex("42 00 20 05 00 00 00 04 00 00 00 FF 00 00 00 00");
    assert_eq!(
        written(|w| {
            w.enumeration(0x42_0020, 255);
        }),
        enumeration
    );
    let text = hex("42 00 20 07 00 00 00 0B 48 65 6C 6C 6F 20 57 6F 72 6C 64 00 00 00 00 00");
    assert_eq!(
        written(|w| {
            w.text(0x42_0020, "Hello World");
        }),
        text
    );
    assert_eq!(Reader::new(&text).item().unwrap().unwrap().text(), Ok("Hello World"));
    let bytes = hex("42 00 20 08 00 00 00 03 01 02 03 00 00 00 00 00");
    assert_eq!(
        written(|w| {
            w.bytes(0x42_0020, &[1, 2, 3]);
        }),
        bytes
    );
    let structure = hex(
        "42 00 20 01 00 00 00 20 42 00 04 05 00 00 00 04 00 00 00 FE 00 00 00 00 42 00 05 02 00 00 00 04 00 00 00 FF 00 00 00 00",
    );
    let made = written(|w| {
        w.structure(0x42_0020, |inside| {
            inside.enumeration(0x42_0004, 254).integer(0x42_0005, 255);
        });
    });
    assert_eq!(made, structure);
    let mut inside = Reader::new(&structure).item().unwrap().unwrap().structure().unwrap();
    assert_eq!(inside.find(0x42_0005).unwrap().unwrap().integer(), Ok(255));
    assert_eq!(inside.item(), Ok(None));
}

#[test]
fn a_writer_without_room_says_so() {
    for room in 0..40 {
        let mut buffer = vec![0; room];
        let mut writer = Writer::new(&mut buffer);
        writer.structure(1, |inside| {
            inside.bytes(2, &[7; 20]);
        });
        assert_eq!(writer.finish(), None, "{room}");
    }
}

/// An answer with `item` in it.
fn answer(item: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    written(|w| {
        w.structure(0x42_007b, |message| {
            message.structure(0x42_007a, |header| {
                header.structure(0x42_0069, |version| {
                    version.integer(0x42_006a, 1).integer(0x42_006b, 4);
                });
                header.text(0x42_0106, "server-7").integer(0x42_000d, 1);
            });
            message.structure(0x42_000f, item);
        });
    })
}

#[test]
fn answers_are_read() {
    let bytes = answer(|item| {
        item.enumeration(0x42_005c, 0x1f).enumeration(0x42_007f, 0);
        item.structure(0x42_007c, |payload| {
            payload.text(0x42_0094, "1").bytes(0x42_00c2, b"cipher").bytes(0x42_00ff, &[5; 16]);
        });
    });
    let found = response(&bytes, Operation::Encrypt).unwrap();
    let sealed = found.sealed(&[9; 12]).unwrap();
    assert_eq!(sealed, Sealed { nonce: &[9; 12], tag: &[5; 16], data: b"cipher" });
    assert_eq!((found.status, found.correlation), (0, Some("server-7")));
    assert_eq!(response(&bytes, Operation::Decrypt).err(), Some("it answers something else"));

    let bytes = answer(|item| {
        item.enumeration(0x42_005c, 0x0b).enumeration(0x42_007f, 0);
        item.structure(0x42_007c, |payload| {
            payload.structure(0x42_0008, |attribute| {
                attribute.text(0x42_000a, "State").enumeration(0x42_000b, 3);
            });
        });
    });
    assert_eq!(response(&bytes, Operation::GetAttributes).unwrap().state(), Ok(State::Deactivated));

    let bytes = answer(|item| {
        item.enumeration(0x42_007f, 1).enumeration(0x42_007e, 0x100).text(0x42_007d, "no");
    });
    let found = response(&bytes, Operation::Decrypt).unwrap();
    assert_eq!((found.status, found.reason, found.message), (1, Some(0x100), Some("no")));
    assert!(found.plain().is_err());
}

/// Each with the one sentence that says what is wrong.
#[test]
fn answers_that_no_server_gives_are_refused() {
    let good = answer(|item| {
        item.enumeration(0x42_007f, 1);
    });
    assert!(response(&good, Operation::Query).is_ok());
    for length in 0..good.len() {
        assert!(response(&good[..length], Operation::Query).is_err(), "{length} bytes");
    }
    let twice = [good.clone(), good.clone()].concat();
    let two_items = written(|w| {
        w.structure(0x42_007b, |message| {
            message.structure(0x42_007a, |_| {});
            message.structure(0x42_000f, |item| {
                item.enumeration(0x42_007f, 0);
            });
            message.structure(0x42_000f, |item| {
                item.enumeration(0x42_007f, 0);
            });
        });
    });
    for (bytes, why) in [
        (b"HTTP/1.1 400 Bad Request\r\n\r\n".to_vec(), "an item of it is cut short"),
        (hex("42 00 78 01 00 00 00 00"), "it is no KMIP answer"),
        (hex("42 00 7B 01 00 00 00 00"), "it has no header"),
        (hex("42 00 7B 02 00 00 00 04 00 00 00 00 00 00 00 00"), "an item of it has another type"),
        (hex("42 00 7B 01 FF FF FF FF"), "an item of it is cut short"),
        (hex("42 00 7B 01 00 00 00 08 42 00 7A 01 00 00 00 00"), "it answers nothing"),
        (twice, "something stands behind it"),
        (two_items, "it answers more than was asked"),
        (answer(|_| {}), "it has no result"),
        (
            answer(|item| {
                item.integer(0x42_007f, 0);
            }),
            "an item of it has another type",
        ),
        (
            answer(|item| {
                item.enumeration(0x42_007f, 0);
            }),
            "it has no payload",
        ),
        (
            answer(|item| {
                item.bytes(0x42_007f, &[0; 4]);
            }),
            "an item of it has another type",
        ),
    ] {
        assert_eq!(response(&bytes, Operation::Query).err(), Some(why), "{bytes:02x?}");
    }
    assert_eq!(Kind::Bytes as u8, 8);
}
