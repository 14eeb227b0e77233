//! Tests of the volume as a whole: against a plain vector, and against crashes and failing devices.

mod controls;
mod crashes;
mod failures;
mod kek;
mod model;
mod poison;
mod rig;
mod schedule;
mod sessions;
mod sim;
mod threads;
