//! Metadata contexts: their names, and the queries of LIST_META_CONTEXT and SET_META_CONTEXT.
//!
//! Two contexts exist on every export. `base:allocation` is the specification's; `x-keymoult:generation` tells in
//! its flags field which key generation encrypts an extent. An empty leaf name lists the contexts of a namespace
//! and selects none; queries that name nothing known are ignored, as the specification asks.

use super::wire::Reader;

/// One metadata context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Context {
    /// Whether a range is a hole and whether it reads as zeros.
    Allocation,
    /// The generation that encrypts a range.
    Generation,
}

impl Context {
    /// Every context, in the order in which replies carry them.
    pub const ALL: [Context; 2] = [Context::Allocation, Context::Generation];

    /// The name clients select it by.
    pub const fn name(self) -> &'static str {
        match self {
            Context::Allocation => "base:allocation",
            Context::Generation => "x-keymoult:generation",
        }
    }

    /// The id in block status replies: fixed, never 0.
    pub const fn id(self) -> u32 {
        match self {
            Context::Allocation => 1,
            Context::Generation => 2,
        }
    }

    const fn bit(self) -> u8 {
        1 << self.id()
    }
}

/// A set of contexts.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Contexts(u8);

impl Contexts {
    /// Adds a context.
    pub fn insert(&mut self, context: Context) {
        self.0 |= context.bit();
    }

    /// Whether a context is in the set.
    pub const fn contains(self, context: Context) -> bool {
        self.0 & context.bit() != 0
    }

    /// Whether none is in the set.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// The contexts of the set, in fixed order.
    pub fn iter(self) -> impl Iterator<Item = Context> {
        Context::ALL.into_iter().filter(move |context| self.contains(*context))
    }
}

/// What a query is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Purpose {
    /// LIST_META_CONTEXT: no query means everything, and an empty leaf name is a wildcard.
    List,
    /// SET_META_CONTEXT: only full names select.
    Set,
}

/// The data of LIST_META_CONTEXT or SET_META_CONTEXT.
#[derive(Debug, PartialEq, Eq)]
pub struct Query<'a> {
    /// The export asked about.
    pub export: &'a str,
    /// The contexts that its queries match.
    pub matched: Contexts,
}

/// Parses option data; `None` when they are malformed or anything is left over.
pub fn parse(data: &[u8], purpose: Purpose) -> Option<Query<'_>> {
    let mut reader = Reader::new(data);
    let export = reader.string()?;
    let count = reader.u32()?;
    let mut matched = Contexts::default();
    // Every query takes at least 4 bytes, so a false count ends at the end of the data.
    for _ in 0..count {
        let query = reader.string()?;
        Context::ALL.into_iter().filter(|context| matches(*context, query, purpose)).for_each(|c| matched.insert(c));
    }
    if count == 0 && purpose == Purpose::List {
        Context::ALL.into_iter().for_each(|context| matched.insert(context));
    }
    reader.end()?;
    Some(Query { export, matched })
}

fn matches(context: Context, query: &str, purpose: Purpose) -> bool {
    let wildcard = purpose == Purpose::List && query.ends_with(':') && context.name().starts_with(query);
    query == context.name() || wildcard
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(export: &str, queries: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut string = |text: &str, count: Option<u32>| {
            bytes.extend_from_slice(&(text.len() as u32).to_be_bytes());
            bytes.extend_from_slice(text.as_bytes());
            count.iter().for_each(|count| bytes.extend_from_slice(&count.to_be_bytes()));
        };
        string(export, Some(queries.len() as u32));
        queries.iter().for_each(|query| string(query, None));
        bytes
    }

    fn matched(queries: &[&str], purpose: Purpose) -> Vec<Context> {
        parse(&data("v", queries), purpose).unwrap().matched.iter().collect()
    }

    #[test]
    fn wildcards_list_but_do_not_select() {
        assert_eq!(matched(&["base:"], Purpose::List), [Context::Allocation]);
        assert_eq!(matched(&["x-keymoult:"], Purpose::List), [Context::Generation]);
        assert_eq!(matched(&["base:", "x-keymoult:"], Purpose::Set), []);
        assert_eq!(matched(&[], Purpose::List), Context::ALL);
        assert_eq!(matched(&[], Purpose::Set), []);
    }

    #[test]
    fn full_names_match_once_and_strangers_are_ignored() {
        let queries =
            ["qemu:dirty-bitmap:x", "x-keymoult:generation", "base:allocation", "base:allocation", "base:x", "b", ""];
        assert_eq!(matched(&queries, Purpose::Set), Context::ALL);
        assert_eq!(matched(&queries, Purpose::List), Context::ALL);
        assert_eq!(matched(&[":", "bas", "base"], Purpose::List), []);
    }

    #[test]
    fn every_truncation_and_any_surplus_is_malformed() {
        let whole = data("export", &["base:allocation", "x-keymoult:generation"]);
        for len in 0..whole.len() {
            assert_eq!(parse(&whole[..len], Purpose::Set), None, "cut at {len}");
        }
        let mut longer = whole.clone();
        longer.push(0);
        assert_eq!(parse(&longer, Purpose::Set), None);
        assert!(parse(&whole, Purpose::Set).is_some());
    }

    #[test]
    fn a_false_count_of_queries_ends_with_the_data() {
        let mut bytes = data("v", &[]);
        let count = bytes.len() - 4;
        bytes[count..].copy_from_slice(&u32::MAX.to_be_bytes());
        assert_eq!(parse(&bytes, Purpose::List), None);
    }
}
