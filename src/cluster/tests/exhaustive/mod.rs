//! The machine exhausted: three real nodes, every order in which what they send arrives, crashes, cuts, another lead, rollback,
//! snapshots, resynchronisation and the end of a key; the invariants of the design in every state.
//!
//! Settings with another lead and a whole rotation of three replicas are cut off at a bound of states. Explored to the end are those of
//! two replicas and a witness in which the change stands at one step or takes one: whoever is cut off while it is active; the lead
//! crashing in the middle of anything; activation, a drain and a rollback while the lead is cut off and the other replica promoted.
//!
//! `tools/model --peers` explores deeper: `KEYMOULT_MODEL_DEPTH=n` adds n crashes, cuts and elections to every setting.

mod controls;
mod search;
mod setting;
mod state;
mod whole;
