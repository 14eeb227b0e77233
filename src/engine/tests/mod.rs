//! One conformance suite for both engines, over every kind of disk and over sockets.

mod disks;
mod oracle;
mod ring;
mod sockets;
mod support;
mod waiting;
