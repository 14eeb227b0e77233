//! The alarms of a seat, by the key under which each is cleared again.
//!
//! Invariant: an alarm of one key is one alarm, however often it is raised.

use std::collections::BTreeMap;

use crate::cli::words;
use crate::control::api::{Alarm, AlarmKind};

/// What needs an operator's eye.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeatAlarms(BTreeMap<String, Raised>);

#[derive(Clone, Debug, PartialEq, Eq)]
struct Raised {
    since: u64,
    count: u64,
    what: String,
}

impl SeatAlarms {
    /// Raises one; whether it is news.
    pub fn raise(&mut self, key: &str, what: &str, now: u64) -> bool {
        match self.0.get_mut(key) {
            Some(raised) => {
                raised.count += 1;
                let is_news = raised.what != what;
                raised.what = what.into();
                is_news
            }
            None => {
                self.0.insert(key.into(), Raised { since: now, count: 1, what: what.into() });
                true
            }
        }
    }

    /// What it was about is over.
    pub fn clear(&mut self, key: &str) {
        self.0.remove(key);
    }

    /// What one says, if it is raised.
    pub fn text(&self, key: &str) -> Option<String> {
        self.0.get(key).map(|raised| raised.what.clone())
    }

    /// Those that are raised, in the API's words.
    pub fn list(&self) -> Vec<Alarm> {
        let alarm = |raised: &Raised| Alarm {
            kind: AlarmKind::Peers,
            since: words::time(raised.since).unwrap_or_default(),
            count: raised.count,
            what: raised.what.clone(),
        };
        self.0.values().map(alarm).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alarm_is_counted_told_once_and_cleared_by_its_key() {
        let mut alarms = SeatAlarms::default();
        assert!(alarms.raise("member b", "b is away", 5));
        assert!(!alarms.raise("member b", "b is away", 6));
        assert!(alarms.raise("member b", "b is away, and c", 7));
        assert!(alarms.raise("fork", "fork", 8));
        assert_eq!(alarms.list().iter().map(|alarm| alarm.count).collect::<Vec<_>>(), [1, 3]);
        assert_eq!(alarms.text("member b").as_deref(), Some("b is away, and c"));
        alarms.clear("member b");
        alarms.clear("member b");
        assert_eq!(alarms.text("member b"), None);
        assert_eq!(alarms.list().len(), 1);
    }
}
