//! The volume under a seeded scheduler (`shuttle`): the same locks, atomics and mailboxes that ship, in orders no machine
//! shows in years. [`explore`] says how schedules are walked and replayed.
//!
//! | file | what it is for |
//! |---|---|
//! | `explore` | seeds to schedules |
//! | `disk`, `engine` | a device each of whose blocks is a step |
//! | `ledger`, `client` | what clients ask, and what they may be told |
//! | `house` | a whole volume with its guests |
//! | `parts` | gates and flush clock alone, many more schedules |
//! | `whole`, `controls` | the tests, and proof that they notice |

mod client;
mod controls;
mod disk;
mod engine;
mod explore;
mod house;
mod ledger;
mod parts;
mod whole;
