//! What an operator should do next about a volume's peers, from what its status says alone.
//!
//! Invariants: the first line is the most urgent; every command is named with the node it is said on, unless that is this node;
//! nothing is proposed that would be refused, as far as this node can know.

use crate::control::api::{ChangeStep, MemberStatus, PeerRole, PeerStatus, RefusalKind, ReplicaPhase};

/// Lines of advice; at least one.
pub fn next(status: &PeerStatus) -> Vec<String> {
    if let Some(why) = &status.out {
        return vec![quarantined(status, why)];
    }
    if status.members.is_empty() {
        let lead = &status.lead;
        return vec![match *lead == status.node {
            _ if !status.waiting.is_empty() => {
                let admit = on(status, lead, &format!("peer admit {} PUBLIC --address HOST:PORT", status.volume));
                format!("{admit}, with the line `public` that `keymoult peer list` shows here")
            }
            true => "the first record is not agreed on yet: start the other members' daemons".into(),
            false => format!("there is no record yet: it comes from {lead}, whose daemon has to run and be reached"),
        }];
    }
    let mut lines = Vec::new();
    lines.extend(without_the_lead(status));
    lines.extend(status.frozen.as_ref().map(|freeze| {
        format!("nothing begins: frozen by {} ({}); `keymoult peer unfreeze` ends that", freeze.actor, freeze.reason)
    }));
    lines.extend(waited_for(status).into_iter().filter_map(|member| mend(status, member)));
    lines.extend(by_the_change(status));
    if lines.is_empty() {
        lines.push(nothing(status));
    }
    lines
}

/// Whether a member can be reached; this node can.
pub fn is_up(member: &MemberStatus) -> bool {
    member.link.as_ref().is_none_or(|link| link.up)
}

/// How many members can be reached.
fn reachable(status: &PeerStatus) -> usize {
    status.members.iter().filter(|member| is_up(member)).count()
}

/// `command`, and where to say it.
fn on(status: &PeerStatus, node: &str, command: &str) -> String {
    match node == status.node {
        true => format!("`keymoult {command}`"),
        false => format!("on {node} `keymoult {command}`"),
    }
}

fn quarantined(status: &PeerStatus, why: &str) -> String {
    let (volume, node, lead) = (&status.volume, &status.node, &status.lead);
    let expel = on(status, lead, &format!("peer expel {volume} {node} --reason …"));
    format!(
        "this replica takes no part any more ({why}): take it out of its clients' mirror, then {expel}, and make it anew under \
         another name from an invite of {lead}"
    )
}

fn without_the_lead(status: &PeerStatus) -> Option<String> {
    let lead = status.members.iter().find(|member| member.name == status.lead)?;
    if is_up(lead) {
        return None;
    }
    let address = lead.link.as_ref().map_or("", |link| link.address.as_str());
    let heard = reachable(status);
    let mend = format!("no change moves without {}: start it, or mend the network to {address}", lead.name);
    Some(match heard as u64 >= status.majority {
        true if status.coordinated => format!("{mend}; if it is gone, another node leads once its lease has ended"),
        true => format!("{mend}; if it is gone, `keymoult peer promote {}` makes this node the lead", status.volume),
        false => format!(
            "{mend}; from here no other can be made lead, since {heard} of {} members can be reached and it takes {}",
            status.members.len(),
            status.majority
        ),
    })
}

/// Members that something is waited for, and those that cannot go on, each once.
fn waited_for(status: &PeerStatus) -> Vec<&MemberStatus> {
    let is_waited_for = |name: &str| status.waiting.iter().any(|waiting| waiting.member == name);
    let stuck = |member: &MemberStatus| {
        let progress = member.progress.as_ref();
        progress.is_some_and(|it| it.held || it.hindrance.is_some() || it.phase == ReplicaPhase::Failed)
    };
    let by_lead = |member: &&MemberStatus| member.name != status.lead || is_up(member);
    status
        .members
        .iter()
        .filter(by_lead)
        .filter(|member| is_waited_for(&member.name) || !is_up(member) || stuck(member))
        .collect()
}

/// What to do about one member.
fn mend(status: &PeerStatus, member: &MemberStatus) -> Option<String> {
    let (volume, name) = (&status.volume, &member.name);
    if let Some(link) = member.link.as_ref().filter(|link| !link.up) {
        let mend = format!("start {name}, or mend the network to {}", link.address);
        let expel = on(status, &status.lead, &format!("peer expel {volume} {name} --reason …"));
        return Some(match status.members.iter().any(|member| member.name == status.lead && is_up(member)) {
            true => format!("{mend}; if it is gone for good: {expel}"),
            false => mend,
        });
    }
    let here = if *name == status.node { "here".to_owned() } else { format!("on {name}") };
    if let Some(refusal) = status.refusals.iter().find(|refusal| refusal.member == *name) {
        return Some(refused(status, name, refusal.kind, &refusal.what));
    }
    let progress = member.progress.as_ref()?;
    if let Some(hindrance) = &progress.hindrance {
        return Some(format!("{here}: {hindrance}; once that is mended it goes on by itself"));
    }
    if progress.phase == ReplicaPhase::Failed {
        let look = on(status, name, &format!("rotate status {volume}"));
        return Some(format!(
            "{look} says why it stopped; `keymoult rotate resume {volume} --here` there lets it go on"
        ));
    }
    progress.held.then(|| {
        let resume = on(status, name, &format!("rotate resume {volume} --here"));
        format!("{name} is held: {resume} lets it go on")
    })
}

fn refused(status: &PeerStatus, name: &str, kind: RefusalKind, what: &str) -> String {
    let volume = &status.volume;
    let expel = on(status, &status.lead, &format!("peer expel {volume} {name} --reason …"));
    match kind {
        RefusalKind::Upgrade => format!("install this release of keymoult on {name} and restart it ({what})"),
        RefusalKind::Failed => format!("on {name}: {what}; once that is mended it goes on by itself"),
        RefusalKind::Fork | RefusalKind::Out => {
            format!("{name} takes no part ({what}): {expel}, and make it anew under another name from an invite")
        }
        RefusalKind::Epoch => {
            format!("another node may lead by now ({name}: {what}): on {name} `keymoult peer status {volume}` says who")
        }
        RefusalKind::Older | RefusalKind::NotEntitled | RefusalKind::Rule => {
            format!("{name} refuses ({what}): `keymoult peer status {volume}` on both nodes shows whose record it is")
        }
    }
}

/// What the change itself waits for: an operator.
fn by_the_change(status: &PeerStatus) -> Option<String> {
    let (volume, change) = (&status.volume, &status.change);
    let moving = matches!(change.step, ChangeStep::Active | ChangeStep::RolledBack);
    if change.paused && moving {
        let resume = on(status, &status.lead, &format!("rotate resume {volume}"));
        return Some(format!("the change is paused on every node: {resume} lets it go on"));
    }
    let is_done = |member: &MemberStatus| {
        let progress = member.progress.as_ref();
        progress.is_some_and(|it| it.phase == ReplicaPhase::Drained && it.lag_revisions == 0)
    };
    let mut full = status.members.iter().filter(|member| member.role == PeerRole::Full);
    let waits = change.step == ChangeStep::Active && change.hold_finalize && full.all(is_done);
    waits.then(|| {
        let finalize = on(status, &status.lead, &format!("rotate finalize {volume}"));
        format!("every replica is done: {finalize} ends the way back, `rotate rollback {volume}` takes it")
    })
}

fn nothing(status: &PeerStatus) -> String {
    match status.change.step {
        ChangeStep::Active | ChangeStep::RolledBack => "nothing to do: replicas are being re-encrypted".into(),
        ChangeStep::Prepared => "nothing to do: the new key is being proven on every replica".into(),
        ChangeStep::Idle | ChangeStep::Finalized => "nothing to do".into(),
    }
}

#[cfg(test)]
#[path = "tests/advice.rs"]
mod tests;
