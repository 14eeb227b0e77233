//! Tests of the volume as a whole: against a plain vector, and against crashes and failing devices.

mod crashes;
mod kek;
mod model;
mod rig;
mod sim;
