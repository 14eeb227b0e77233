//! The `[limits]` of the configuration file: what NBD clients may cost. Defaults and ranges are those of [`Bounds`].

use std::fmt;
use std::time::Duration;

use serde::Deserialize;
use serde::de::{self, Visitor};

use crate::cli::size;
use crate::nbd::Bounds;

/// The table. What it leaves out has its default.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct FileLimits {
    /// How long a handshake may take.
    handshake_time: Option<Time>,
    /// Options of one handshake.
    options: Option<u32>,
    /// Option data that are kept; longer ones are dropped as they arrive, and the option is refused.
    option_bytes_kept: Option<Size>,
    /// Option data that are dropped that way; a longer claim ends the connection.
    option_bytes_skipped: Option<Size>,
    /// Connections at a time.
    connections: Option<u32>,
    /// Of these, of one address, user or machine.
    connections_per_peer: Option<u32>,
    /// Requests of one connection at a time.
    requests: Option<u32>,
    /// Payload bytes one connection may hold.
    bytes: Option<Size>,
    /// Payload bytes all connections may hold together.
    bytes_in_all: Option<Size>,
    /// How long a connection may ask for nothing.
    idle_time: Option<Time>,
    /// How long a client may take nothing of a reply.
    stall_time: Option<Time>,
    /// How long requests may take to finish once the server stops.
    drain_time: Option<Time>,
}

impl FileLimits {
    /// The limits, with the defaults for what is left out. `never` is for `idle-time` alone.
    pub fn bounds(&self) -> Result<Bounds, String> {
        let mut bounds = Bounds::default();
        let limited = |name: &str, time: &Option<Time>, value: &mut Duration| match time {
            None => Ok(()),
            Some(Time(None)) => Err(format!("`{name}` needs a limit; only `idle-time` may be \"never\"")),
            Some(Time(Some(time))) => {
                *value = *time;
                Ok(())
            }
        };
        limited("handshake-time", &self.handshake_time, &mut bounds.handshake_time)?;
        limited("stall-time", &self.stall_time, &mut bounds.stall_time)?;
        limited("drain-time", &self.drain_time, &mut bounds.drain_time)?;
        set(&mut bounds.handshake.options, self.options);
        // What does not fit is out of range as well.
        let narrow = |size: Size| u32::try_from(size.0).unwrap_or(u32::MAX);
        let wide = |size: Size| usize::try_from(size.0).unwrap_or(usize::MAX);
        set(&mut bounds.handshake.option_data, self.option_bytes_kept.map(narrow));
        set(&mut bounds.handshake.option_skip, self.option_bytes_skipped.map(narrow));
        set(&mut bounds.connections, self.connections.map(|it| it as usize));
        set(&mut bounds.requests, self.requests.map(|it| it as usize));
        set(&mut bounds.held, self.bytes.map(wide));
        set(&mut bounds.held_in_all, self.bytes_in_all.map(wide));
        bounds.connections_per_peer = self.connections_per_peer.map(|it| it as usize);
        bounds.idle_time = self.idle_time.and_then(|time| time.0);
        Ok(bounds)
    }
}

fn set<T>(value: &mut T, given: Option<T>) {
    if let Some(given) = given {
        *value = given;
    }
}

/// A time: `"10s"`, `"5min"`, or seconds as a number; None for `"never"`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Time(pub Option<Duration>);

/// A size: `"64KiB"`, or bytes as a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Size(pub u64);

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Time, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Time;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a time such as \"10s\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Time, E> {
                size::parse_time(text).map(Time).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, seconds: i64) -> Result<Time, E> {
                let seconds = u64::try_from(seconds).map_err(|_| E::custom("a time is not negative"))?;
                Ok(Time(Some(Duration::from_secs(seconds))))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}

impl<'de> Deserialize<'de> for Size {
    fn deserialize<D: de::Deserializer<'de>>(deserializer: D) -> Result<Size, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Size;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a size such as \"64KiB\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Size, E> {
                size::parse(text).map(Size).map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, bytes: i64) -> Result<Size, E> {
                u64::try_from(bytes).map(Size).map_err(|_| E::custom("a size is not negative"))
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
