//! The machine exhausted: three real nodes, every order in which what they send arrives, crashes, cuts, another lead, rollback,
//! snapshots, resynchronisation and the end of a key; the invariants of the design in every state.
//!
//! `tools/model --peers` explores deeper: `KEYMOULT_MODEL_DEPTH=n` adds n crashes, cuts and elections to every setting.

mod controls;
mod search;
mod setting;
mod state;
mod whole;
