//! Sizes, rates and times: as people write them, and as they read them.
//!
//! Invariants: units are binary (KiB = 1024 bytes) and a decimal one (MB) is refused, not guessed at; what is printed
//! without a fraction is exact.

use std::time::Duration;

/// Reads a size: `4096`, `512MiB`, `10GiB`, `64K`. Bytes.
pub fn parse(text: &str) -> Result<u64, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let shift = match unit.trim_start().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kib" => 10,
        "m" | "mib" => 20,
        "g" | "gib" => 30,
        "t" | "tib" => 40,
        "p" | "pib" => 50,
        "kb" | "mb" | "gb" | "tb" | "pb" => {
            return Err("units are binary: write KiB, MiB, GiB or TiB".into());
        }
        _ => return Err("a size is a whole number and a unit: 4096, 512MiB, 10GiB".into()),
    };
    let number: u64 = number.parse().map_err(|_| "a size is a whole number and a unit: 4096, 512MiB, 10GiB")?;
    number.checked_mul(1 << shift).ok_or_else(|| "it is too large".into())
}

/// Reads a rate: a size, with or without `/s`. Bytes per second; None for `unlimited`.
pub fn parse_rate(text: &str) -> Result<Rate, String> {
    match text {
        "unlimited" => Ok(Rate(None)),
        _ => parse(text.strip_suffix("/s").unwrap_or(text)).map(|rate| Rate(Some(rate))),
    }
}

/// A rate limit, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate(pub Option<u64>);

/// Reads a time: `500ms`, `90s`, `5min`, `12h`, `7d`; None for `never`.
pub fn parse_time(text: &str) -> Result<Option<Duration>, String> {
    const FORM: &str = "a time is a whole number and a unit, such as 500ms, 90s, 5min, 12h, 7d, or `never`";
    if text == "never" {
        return Ok(None);
    }
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let unit = match unit.trim_start() {
        "ms" => 1,
        "s" => 1000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err(FORM.into()),
    };
    let number: u64 = number.parse().map_err(|_| FORM)?;
    number.checked_mul(unit).map(|it| Some(Duration::from_millis(it))).ok_or_else(|| "it is too long".into())
}

/// A size for people: exact without a fraction, else with two digits.
pub fn bytes(value: u64) -> String {
    const UNITS: [&str; 6] = ["bytes", "KiB", "MiB", "GiB", "TiB", "PiB"];
    let unit = (1..UNITS.len()).rev().find(|unit| value >> (10 * unit) > 0).unwrap_or(0);
    let whole = value >> (10 * unit);
    let rest = value - (whole << (10 * unit));
    match rest {
        0 => format!("{whole} {}", UNITS[unit]),
        _ => format!("{:.2} {}", value as f64 / (1u64 << (10 * unit)) as f64, UNITS[unit]),
    }
}

/// A rate for people.
pub fn rate(bytes_per_s: u64) -> String {
    bytes(bytes_per_s) + "/s"
}

/// A time for people: the two largest units.
pub fn seconds(value: u64) -> String {
    let (days, hours, minutes) = (value / 86400, value / 3600 % 24, value / 60 % 60);
    match value {
        0..60 => format!("{value} s"),
        60..3600 => format!("{minutes} min {:02} s", value % 60),
        3600..86400 => format!("{hours} h {minutes:02} min"),
        _ => format!("{days} d {hours:02} h"),
    }
}

/// `done` of `total` in whole percent; 100 when there is nothing to do.
pub fn percent(done: u64, total: u64) -> u64 {
    match total {
        0 => 100,
        _ => (u128::from(done.min(total)) * 100 / u128::from(total)) as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read() {
        for (text, value) in
            [("0", 0), ("4096", 4096), ("4096B", 4096), ("64K", 65536), ("512MiB", 512 << 20), ("10gib", 10 << 30)]
        {
            assert_eq!(parse(text), Ok(value), "{text}");
        }
        for text in ["", "GiB", "-1", "1.5GiB", "10GB", "1 0", "1XiB", "99999999999TiB", "18446744073709551616", "١"] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert_eq!(parse_rate("200MiB/s"), Ok(Rate(Some(200 << 20))));
        assert_eq!(parse_rate("unlimited"), Ok(Rate(None)));
    }

    #[test]
    fn times_are_read() {
        for (text, millis) in
            [("500ms", 500), ("90s", 90_000), ("5min", 300_000), ("2 h", 7_200_000), ("1d", 86_400_000)]
        {
            assert_eq!(parse_time(text), Ok(Some(Duration::from_millis(millis))), "{text}");
        }
        assert_eq!(parse_time("never"), Ok(None));
        for text in ["", "s", "10", "-1s", "1.5s", "1 month", "99999999999999999d"] {
            assert!(parse_time(text).is_err(), "{text}");
        }
    }

    #[test]
    fn sizes_and_times_are_written() {
        for (value, text) in
            [(0, "0 bytes"), (1023, "1023 bytes"), (4096, "4 KiB"), (10 << 30, "10 GiB"), (1536 << 20, "1.50 GiB")]
        {
            assert_eq!(bytes(value), text);
        }
        assert_eq!(bytes(u64::MAX), "16384.00 PiB");
        for (value, text) in [(0, "0 s"), (61, "1 min 01 s"), (3720, "1 h 02 min"), (90000, "1 d 01 h")] {
            assert_eq!(seconds(value), text);
        }
        assert_eq!([percent(1, 3), percent(0, 0), percent(5, 4), percent(u64::MAX, u64::MAX)], [33, 100, 100, 100]);
    }
}
