//! Tests of the volume as a whole: against a plain vector, and against crashes and failing devices.

mod answers;
mod backup;
mod controls;
mod crashes;
mod exhaustive;
mod failures;
mod grow;
pub mod hooked;
mod kek;
mod life;
mod model;
mod online;
mod poison;
mod replica;
mod restores;
mod rig;
mod rot;
mod schedule;
mod sessions;
mod sim;
mod tag_pages;
mod threads;
mod verify;
mod wraps;
