//! Advice for every state an operator meets: what is named, and what is not proposed.

use super::*;
use crate::control::api::{Freeze, PeerLink, PeerRefusal, PeerWaiting, ReplicaProgress};

fn member(name: &str, up: Option<bool>) -> MemberStatus {
    let link = up.map(|up| PeerLink { node: name.into(), address: format!("{name}:7000"), up, ..PeerLink::default() });
    let progress = Some(ReplicaProgress { phase: ReplicaPhase::Running, ..ReplicaProgress::default() });
    MemberStatus { name: name.into(), link, progress, ..MemberStatus::default() }
}

/// A volume of three, seen from `node`; `down` cannot be reached.
fn status(node: &str, lead: &str, down: &[&str]) -> PeerStatus {
    let of = |name: &str| member(name, (name != node).then(|| !down.contains(&name)));
    let mut status = PeerStatus {
        volume: "disk0".into(),
        node: node.into(),
        lead: lead.into(),
        majority: 2,
        members: ["a", "b", "c"].map(of).to_vec(),
        ..PeerStatus::default()
    };
    status.change.step = ChangeStep::Active;
    status
}

fn only(status: &PeerStatus) -> String {
    let lines = next(status);
    assert_eq!(lines.len(), 1, "{lines:?}");
    lines[0].clone()
}

#[test]
fn all_well_is_nothing_to_do() {
    assert_eq!(only(&status("a", "a", &[])), "nothing to do: replicas are being re-encrypted");
}

#[test]
fn before_the_first_record_there_is_one_to_wait_for() {
    let founding = |node: &str| PeerStatus { members: Vec::new(), ..status(node, "a", &[]) };
    assert!(only(&founding("b")).contains("it comes from a"));
    assert!(only(&founding("a")).contains("start the other members"));
    let waiting = PeerWaiting { member: "a".into(), what: "to admit d".into(), ..PeerWaiting::default() };
    let fresh = PeerStatus { waiting: vec![waiting], ..founding("d") };
    assert!(only(&fresh).starts_with("on a `keymoult peer admit disk0 PUBLIC"), "{}", only(&fresh));
}

#[test]
fn a_missing_member_is_started_or_expelled_on_the_lead() {
    let line = only(&status("a", "a", &["b"]));
    assert_eq!(
        line,
        "start b, or mend the network to b:7000; if it is gone for good: `keymoult peer expel disk0 b --reason …`"
    );
    assert!(only(&status("c", "a", &["b"])).ends_with("on a `keymoult peer expel disk0 b --reason …`"));
}

#[test]
fn a_missing_lead_is_replaced_only_where_a_majority_is_heard() {
    assert!(only(&status("b", "a", &["a"])).contains("`keymoult peer promote disk0`"));
    let lines = next(&status("b", "a", &["a", "c"]));
    assert!(!lines.iter().any(|line| line.contains("promote") || line.contains("expel")), "{lines:?}");
    assert!(lines[0].contains("1 of 3 members can be reached and it takes 2"), "{lines:?}");
}

#[test]
fn what_a_member_says_is_repeated() {
    let mut held = status("a", "a", &[]);
    held.members[1].progress.as_mut().unwrap().held = true;
    assert_eq!(only(&held), "b is held: on b `keymoult rotate resume disk0 --here` lets it go on");
    let mut hindered = status("a", "a", &[]);
    hindered.members[0].progress.as_mut().unwrap().hindrance = Some("the KEK cannot be had".into());
    assert_eq!(only(&hindered), "here: the KEK cannot be had; once that is mended it goes on by itself");
    let mut failed = status("a", "a", &[]);
    failed.members[2].progress.as_mut().unwrap().phase = ReplicaPhase::Failed;
    assert!(only(&failed).starts_with("on c `keymoult rotate status disk0` says why"));
}

#[test]
fn every_refusal_has_a_way_on() {
    use RefusalKind::{Epoch, Failed, Fork, NotEntitled, Older, Out, Rule, Upgrade};
    for (kind, way) in [
        (Upgrade, "install this release of keymoult on b"),
        (Failed, "once that is mended"),
        (Fork, "peer expel disk0 b"),
        (Out, "peer expel disk0 b"),
        (Epoch, "another node may lead"),
        (Older, "shows whose record it is"),
        (NotEntitled, "shows whose record it is"),
        (Rule, "shows whose record it is"),
    ] {
        let mut refused = status("a", "a", &[]);
        refused.waiting = vec![PeerWaiting { member: "b".into(), ..PeerWaiting::default() }];
        refused.refusals = vec![PeerRefusal { member: "b".into(), kind, what: "the reason".into() }];
        let line = only(&refused);
        assert!(line.contains(way) && line.contains("the reason"), "{line}");
    }
}

#[test]
fn what_waits_for_an_operator_says_so() {
    let mut paused = status("b", "a", &[]);
    paused.change.paused = true;
    assert!(only(&paused).contains("on a `keymoult rotate resume disk0`"));
    let mut frozen = status("a", "a", &[]);
    frozen.frozen = Some(Freeze { actor: "x".into(), reason: "y".into(), since: String::new() });
    assert!(only(&frozen).contains("frozen by x (y)"));
    let mut held = status("a", "a", &[]);
    held.change.hold_finalize = true;
    assert!(!only(&held).contains("finalize"), "not before every replica is done");
    for member in &mut held.members {
        member.progress.as_mut().unwrap().phase = ReplicaPhase::Drained;
    }
    assert!(only(&held).contains("`keymoult rotate finalize disk0` ends the way back"));
    held.members[1].progress.as_mut().unwrap().lag_revisions = 1;
    assert!(!only(&held).contains("finalize"), "not while one is behind");
}

#[test]
fn a_replica_that_is_out_is_told_nothing_else() {
    let mut out = status("b", "a", &["a", "c"]);
    out.out = Some("a fork".into());
    let line = only(&out);
    assert!(line.contains("on a `keymoult peer expel disk0 b --reason …`") && !line.contains("promote"), "{line}");
}
