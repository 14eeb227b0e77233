//! Asking for a passphrase on the terminal.
//!
//! The terminal is put into a mode without echo, line editing and signals while the answer is typed, and put back as it
//! was whatever happens: Ctrl-C arrives as a byte and ends the question, instead of ending the program with the echo off.
//!
//! Invariants: what is typed goes byte by byte from the terminal into a [`Secret`] and nowhere else, not even as stars.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Write};

use nix::sys::termios::{LocalFlags, SetArg, SpecialCharacterIndices, Termios, tcgetattr, tcsetattr};

use crate::crypto::Secret;
use crate::keys::error::KeyError;
use crate::keys::passphrase::{PASSPHRASE_MAX, PassphraseUse};

/// Asks on the controlling terminal, whatever standard input is.
pub(super) fn passphrase(usage: PassphraseUse) -> Result<Secret, KeyError> {
    let tty = OpenOptions::new().read(true).write(true).open("/dev/tty");
    let mut tty = tty.map_err(KeyError::Terminal)?;
    ask(&mut tty, usage)
}

/// Asks for the PIN of the token with the KEK `kek`.
pub(super) fn pin(kek: &str) -> Result<Secret, KeyError> {
    let tty = OpenOptions::new().read(true).write(true).open("/dev/tty");
    line(&mut tty.map_err(KeyError::Terminal)?, &format!("PIN for {}: ", kek.escape_debug()))
}

/// Asks on `tty`: once to open something, twice to protect something new. Empty answers are asked for again.
fn ask(tty: &mut File, usage: PassphraseUse) -> Result<Secret, KeyError> {
    let question = match usage {
        PassphraseUse::Open => "Passphrase: ",
        PassphraseUse::Create => "New passphrase: ",
    };
    let answer = loop {
        let answer = line(tty, question)?;
        if !answer.is_empty() {
            break answer;
        }
    };
    if usage == PassphraseUse::Create && !answer.ct_eq(&line(tty, "The same again: ")?) {
        return Err(KeyError::Mismatch);
    }
    Ok(answer)
}

/// One question and its answer.
fn line(tty: &mut File, question: &str) -> Result<Secret, KeyError> {
    let quiet = Quiet::new(tty).map_err(KeyError::Terminal)?;
    let mut tty = quiet.tty;
    tty.write_all(question.as_bytes()).map_err(KeyError::Terminal)?;
    let answer = Secret::read_up_to(PASSPHRASE_MAX, |buffer| read_line(&mut tty, buffer));
    tty.write_all(b"\r\n").map_err(KeyError::Terminal)?;
    answer
}

/// Reads keys until the end of the line; returns how many bytes `buffer` holds.
fn read_line(tty: &mut impl Read, buffer: &mut [u8]) -> Result<usize, KeyError> {
    const INTERRUPT: u8 = 3;
    const END: u8 = 4;
    const KILL: u8 = 21;
    let mut len = 0;
    loop {
        let mut key = [0];
        match tty.read(&mut key) {
            Ok(0) => return Err(KeyError::Cancelled),
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(KeyError::Terminal(error)),
        }
        match key[0] {
            b'\r' | b'\n' => return Ok(len),
            END if len > 0 => return Ok(len),
            INTERRUPT | END => return Err(KeyError::Cancelled),
            KILL => len = 0,
            8 | 127 => len = last_character(&buffer[..len]),
            _ if len == buffer.len() => return Err(KeyError::TooLong { most: len }),
            byte => {
                buffer[len] = byte;
                len += 1;
            }
        }
    }
}

/// Where the last UTF-8 character of `text` begins.
fn last_character(text: &[u8]) -> usize {
    text.iter().rposition(|byte| byte & 0xc0 != 0x80).unwrap_or(0)
}

/// A terminal without echo until dropped.
struct Quiet<'a> {
    tty: &'a File,
    before: Termios,
}

impl<'a> Quiet<'a> {
    fn new(tty: &'a File) -> io::Result<Quiet<'a>> {
        let before = tcgetattr(tty)?;
        let mut during = before.clone();
        during.local_flags &= !(LocalFlags::ECHO | LocalFlags::ECHONL | LocalFlags::ICANON | LocalFlags::ISIG);
        during.control_chars[SpecialCharacterIndices::VMIN as usize] = 1;
        during.control_chars[SpecialCharacterIndices::VTIME as usize] = 0;
        // What was typed before the question is not an answer to it.
        tcsetattr(tty, SetArg::TCSAFLUSH, &during)?;
        Ok(Quiet { tty, before })
    }
}

impl Drop for Quiet<'_> {
    fn drop(&mut self) {
        // Nothing better can be done about a terminal that went away.
        let _ = tcsetattr(self.tty, SetArg::TCSAFLUSH, &self.before);
    }
}

#[cfg(test)]
mod tests {
    use std::os::fd::OwnedFd;

    use nix::pty::openpty;

    use super::*;

    /// Asks on a real terminal while `typed` is typed, one piece after each question; returns the answer and all that
    /// the terminal showed.
    fn at_terminal(usage: PassphraseUse, typed: &[&[u8]]) -> (Result<Vec<u8>, KeyError>, String, bool) {
        let pty = openpty(None, None).unwrap();
        let (mut tty, mut keyboard) = (File::from(pty.slave), File::from(pty.master));
        let before = tcgetattr(&tty).unwrap();
        let typed: Vec<Vec<u8>> = typed.iter().map(|piece| piece.to_vec()).collect();
        let person = std::thread::spawn(move || {
            let mut shown = Vec::new();
            for piece in typed {
                // What is typed before the question is thrown away, so wait for it.
                while !shown.ends_with(b": ") {
                    read_some(&mut keyboard, &mut shown);
                }
                keyboard.write_all(&piece).unwrap();
                shown.push(b'|');
            }
            (keyboard, shown)
        });
        let answer = ask(&mut tty, usage).map(|secret| secret.expose().to_vec());
        let restored = tcgetattr(&tty).unwrap() == before;
        drop(tty);
        let (mut keyboard, mut shown) = person.join().unwrap();
        while read_some(&mut keyboard, &mut shown) {}
        drop(OwnedFd::from(keyboard));
        (answer, String::from_utf8(shown).unwrap(), restored)
    }

    /// Reads what there is; false when the other side is closed.
    fn read_some(from: &mut File, into: &mut Vec<u8>) -> bool {
        let mut buffer = [0; 256];
        match from.read(&mut buffer) {
            Ok(count) if count > 0 => {
                into.extend_from_slice(&buffer[..count]);
                true
            }
            _ => false,
        }
    }

    #[test]
    fn the_answer_is_read_edited_and_not_shown() {
        let typed: &[&[u8]] = &[b"wrong\x15hor\xc3\xbf\x7fsey\x7f\r"];
        let (answer, shown, restored) = at_terminal(PassphraseUse::Open, typed);
        assert_eq!(answer.unwrap(), b"horse");
        assert_eq!(shown.replace("\r", "").replace('\n', ""), "Passphrase: |");
        assert!(restored);
    }

    #[test]
    fn a_new_one_is_asked_for_twice() {
        let (answer, shown, _) = at_terminal(PassphraseUse::Create, &[b"\r", b"horse\r", b"horse\r"]);
        assert_eq!(answer.unwrap(), b"horse");
        assert_eq!(shown.replace("\r", "").replace('\n', ""), "New passphrase: |New passphrase: |The same again: |");
        let (answer, _, restored) = at_terminal(PassphraseUse::Create, &[b"horse\r", b"house\r"]);
        assert!(matches!(answer, Err(KeyError::Mismatch)));
        assert!(restored);
    }

    #[test]
    fn giving_up_restores_the_terminal() {
        for typed in [&b"hor\x03"[..], b"\x04"] {
            let (answer, _, restored) = at_terminal(PassphraseUse::Open, &[typed]);
            assert!(matches!(answer, Err(KeyError::Cancelled)));
            assert!(restored);
        }
    }

    #[test]
    fn endless_typing_is_stopped() {
        let mut keys: &[u8] = &[b'x'; 20];
        let error = read_line(&mut keys, &mut [0; 8]).unwrap_err();
        assert!(matches!(error, KeyError::TooLong { most: 8 }));
    }
}
