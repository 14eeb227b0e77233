//! The exhaustive model: a small volume on an abstract device, every state it can reach, every crash in each of them.
//!
//! Beside it stands the randomized crash suite (`sim`), which runs the whole product on a simulated device. The model is
//! the other way round: device, client and the order of steps are abstract and small enough to exhaust, and everything that
//! decides (planner, fencing, flush clock, copies, replay, classification, rules) is the product's own code.
//!
//! | file | what it is for |
//! |---|---|
//! | `setting` | bounds, and the lies a control may tell |
//! | `device`, `content` | places, their cached versions, crash images |
//! | `books`, `clock`, `state` | what the server keeps in memory |
//! | `action`, `pipeline` | what can happen next |
//! | `recovery`, `relabel`, `checker` | what a crash comes to |
//! | `search`, `sentence` | all states, and the way to a violation in words |
//! | `whole`, `controls` | full rules hold; each rule dropped is caught |

mod action;
mod books;
mod checker;
mod clock;
mod content;
mod controls;
mod device;
mod pipeline;
mod recovery;
mod relabel;
mod search;
mod sentence;
mod setting;
mod state;
mod whole;
