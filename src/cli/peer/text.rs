//! What `keymoult peer …` and `keymoult status` say to people about peers.
//!
//! Invariants: everything here is made from the API's answer alone; a member that is missing or behind stands out in capitals, and
//! what to do stands at the end.

use super::advice;
use crate::cli::output::{properties, row, table};
use crate::cli::{progress, size};
use crate::control::api::{
    ChangeStatus, ChangeStep, Difference, InviteResult, MemberStatus, OnDeadline, PeerActed, PeerCheckStatus,
    PeerFrozen, PeerLink, PeerList, PeerRole, PeerStatus, PeerWaiting, RecordName, ReplicaPhase, ReplicaProgress,
};

/// A volume's peers, for `peer status`.
pub fn status(status: &PeerStatus) -> String {
    let mut pairs = vec![("record", record(status)), ("change", change(&status.change))];
    pairs.extend(status.out.iter().map(|why| ("OUT", why.clone())));
    pairs.extend(status.alarms.iter().map(|alarm| ("ALARM", format!("since {}: {}", alarm.since, alarm.what))));
    if !status.expelled.is_empty() {
        pairs.push(("expelled", status.expelled.join(", ")));
    }
    let mut text = format!(
        "volume {} of cluster {}, seen from {}: {} leads epoch {}\n{}\n",
        status.volume,
        status.cluster,
        status.node,
        status.lead,
        status.epoch,
        properties(&pairs)
    );
    let mut rows = vec![row(["member", "role", "link", "replica", "behind", "release"])];
    rows.extend(status.members.iter().map(|member| member_row(status, member)));
    text.push_str(&table(&rows));
    text.push('\n');
    text.extend(status.waiting.iter().map(|waiting| format!("waits for {}\n", waits(status, waiting))));
    text.extend(status.refusals.iter().map(|it| format!("{} refused: {}\n", it.member, it.what)));
    text.extend(advice::next(status).iter().map(|line| format!("next: {line}\n")));
    text
}

/// Lines about replicas among a volume's properties, for `status`.
pub fn member_pairs(status: &PeerStatus) -> Vec<(&'static str, String)> {
    let mut pairs = vec![(
        "peers",
        format!("{} leads epoch {}; record {}; {}", status.lead, status.epoch, record(status), change(&status.change)),
    )];
    pairs.extend(status.out.iter().map(|why| ("OUT", why.clone())));
    for member in &status.members {
        let mut parts = vec![link(member)];
        parts.extend(member.progress.as_ref().map(|it| replica(it, advice::is_up(member))));
        parts.extend(member.progress.as_ref().and_then(behind).map(|lag| format!("{lag} behind")));
        if member.role == PeerRole::Witness {
            parts.push("witness".into());
        }
        pairs.push(("member", format!("{}: {}", member_name(status, member), parts.join("; "))));
    }
    pairs.extend(status.waiting.iter().map(|waiting| ("waits for", waits(status, waiting))));
    pairs
}

fn record(status: &PeerStatus) -> String {
    let name = |record: &RecordName| format!("{}.{}", record.stamp.epoch, record.stamp.revision);
    let committed = format!("{} committed", name(&status.committed));
    match status.accepted == status.committed {
        true => committed,
        false => format!("{committed}, {} accepted", name(&status.accepted)),
    }
}

fn change(change: &ChangeStatus) -> String {
    if change.step == ChangeStep::Idle {
        return "none under way".into();
    }
    let mut text = format!("{} {} → {}", change.step.name(), change.from, change.target);
    text.extend(change.since.iter().map(|since| format!(" since {since}")));
    if !change.actor.is_empty() {
        text.push_str(&format!(", by {}", change.actor));
    }
    if !change.reason.is_empty() {
        text.push_str(&format!(": {}", change.reason));
    }
    if change.paused {
        text.push_str("; PAUSED");
    }
    if change.hold_finalize && change.step == ChangeStep::Active {
        text.push_str("; an operator finalizes it");
    }
    text.extend(change.turn.iter().map(|turn| format!("; one at a time, {turn} now")));
    let then = match change.together.on_deadline {
        OnDeadline::Alarm => "an alarm",
        OnDeadline::Undo => "the way back",
    };
    text.extend(change.deadline.iter().map(|deadline| format!("; at {deadline} {then}")));
    text
}

fn member_name(status: &PeerStatus, member: &MemberStatus) -> String {
    match member.name == status.lead {
        true => format!("{} (lead)", member.name),
        false => member.name.clone(),
    }
}

fn member_row(status: &PeerStatus, member: &MemberStatus) -> Vec<String> {
    let progress = member.progress.as_ref();
    let silent = if member.role == PeerRole::Witness { "–" } else { "not heard of" };
    let release = member.link.as_ref().and_then(|link| link.version.clone());
    row([
        &member_name(status, member),
        member.role.name(),
        &link(member),
        &progress.map_or_else(|| silent.into(), |it| replica(it, advice::is_up(member))),
        &progress.map_or_else(|| "–".into(), |it| behind(it).unwrap_or_else(|| "no".into())),
        release.as_deref().unwrap_or("–"),
    ])
}

/// The link in a few words.
fn link(member: &MemberStatus) -> String {
    match &member.link {
        None => "this node".into(),
        Some(PeerLink { up: true, .. }) => "up".into(),
        Some(link) => unreachable_since(link),
    }
}

fn unreachable_since(link: &PeerLink) -> String {
    let since = link.since.as_ref().map_or_else(String::new, |since| format!(" since {since}"));
    format!("DOWN{since}")
}

/// A replica in a few words; of one that cannot be reached what it last said.
fn replica(progress: &ReplicaProgress, is_up: bool) -> String {
    let percent = size::percent(progress.extents_done, progress.extents_total);
    let word = match (progress.held, progress.phase) {
        (true, ReplicaPhase::Running | ReplicaPhase::Paused) => "HELD",
        (_, ReplicaPhase::Failed) => "FAILED",
        (_, phase) => phase.name(),
    };
    if !is_up {
        return format!("{word} {percent}% when last heard");
    }
    let mut text = format!("{word} {percent}%");
    if progress.phase == ReplicaPhase::Running && !progress.held && progress.rate_bytes_per_s > 0 {
        text.push_str(&format!(", {}", progress::speed(progress.rate_bytes_per_s, progress.eta_s)));
    }
    if progress.extents_verified > 0 {
        text.push_str(&format!(", {}% verified", size::percent(progress.extents_verified, progress.extents_total)));
    }
    text.extend(progress.hindrance.iter().map(|why| format!(", HINDERED: {why}")));
    text
}

/// How far it is behind; nothing if it is not.
fn behind(progress: &ReplicaProgress) -> Option<String> {
    let records = if progress.lag_revisions == 1 { "record" } else { "records" };
    (progress.lag_revisions > 0)
        .then(|| format!("{} {records}, {}", progress.lag_revisions, size::seconds(progress.lag_s)))
}

/// `b to be drained, since …; unreachable since …`: what is waited for.
fn waits(status: &PeerStatus, waiting: &PeerWaiting) -> String {
    let member = status.members.iter().find(|member| member.name == waiting.member);
    let down = member.and_then(|member| member.link.as_ref()).filter(|link| !link.up);
    let why = down.map_or_else(String::new, |link| {
        let since = link.since.as_ref().map_or_else(String::new, |since| format!(" since {since}"));
        let error = link.last_error.as_ref().map_or_else(String::new, |error| format!(" ({error})"));
        format!("; unreachable{since}{error}")
    });
    format!("{} {}, since {}{why}", waiting.member, waiting.what, waiting.since)
}

/// This node, for `peer list`.
pub fn list(list: &PeerList) -> String {
    let mut pairs = vec![("listens", list.listen.clone()), ("public", list.public.clone())];
    pairs.extend(list.certificate_ends.iter().map(|ends| ("certificate", format!("until {ends}"))));
    pairs
        .extend(list.frozen.iter().map(|it| ("FROZEN", format!("since {}, by {}: {}", it.since, it.actor, it.reason))));
    if let Some(coordinator) = &list.coordinator {
        let state = if coordinator.up { "answers" } else { "DOES NOT ANSWER" };
        let lead = coordinator.lead.as_ref().map_or_else(|| "nobody leads".into(), |lead| format!("{lead} leads"));
        pairs.push(("coordinator", format!("{}, {state}; {lead}", coordinator.kind)));
        pairs.extend(coordinator.trouble.iter().map(|what| ("TROUBLE", what.clone())));
        if coordinator.tokens_max > 0 {
            pairs.push(("leaves", format!("{} of {} taken", coordinator.tokens.len(), coordinator.tokens_max)));
        }
        let taken = |it: &crate::control::api::WaveToken| ("leave", format!("{}, by {}", it.volume, it.node));
        pairs.extend(coordinator.tokens.iter().map(taken));
    }
    let mut text = format!("node {} of cluster {}\n{}\n", list.node, list.cluster, properties(&pairs));
    let mut rows = vec![row(["peer", "address", "link", "release", "certificate until", "last trouble"])];
    for link in &list.links {
        let state = if link.up { "up".into() } else { unreachable_since(link) };
        let or_none = |text: &Option<String>| text.clone().unwrap_or_else(|| "–".into());
        rows.push(row([
            &link.node,
            &link.address,
            &state,
            &or_none(&link.version),
            &or_none(&link.certificate_ends),
            &or_none(&link.last_error),
        ]));
    }
    text.push_str(&table(&rows));
    if list.volumes.is_empty() {
        return text + "\nno volume is replicated\n";
    }
    let mut rows = vec![row(["volume", "lead", "epoch", "change", "reachable", "waits for"])];
    for volume in &list.volumes {
        let waits = match (&volume.out, volume.waits_for.is_empty()) {
            (Some(_), _) => "OUT: see `peer status`".into(),
            (None, true) => "nobody".into(),
            (None, false) => volume.waits_for.join(", "),
        };
        rows.push(row([
            &volume.volume,
            &volume.lead,
            &volume.epoch.to_string(),
            volume.step.name(),
            &format!("{} of {}", volume.reachable, volume.members),
            &waits,
        ]));
    }
    format!("{text}\n{}", table(&rows))
}

/// What an act did.
pub fn acted(acted: &PeerActed) -> String {
    let word = match (acted.complete, acted.changed) {
        (true, true) => "committed",
        (true, false) => "nothing to change",
        (false, _) => "under way, NOT committed yet",
    };
    let mut text = format!("volume {}: {word}\n", acted.volume);
    text.extend(acted.notes.iter().map(|note| format!("  {note}\n")));
    let waits = |it: &PeerWaiting| format!("  waits for {} {}, since {}\n", it.member, it.what, it.since);
    text.extend(acted.waiting.iter().map(waits));
    if !acted.complete {
        text.push_str(&format!("  it goes on by itself; `keymoult peer status {}` says what to do\n", acted.volume));
    }
    text
}

/// What an invite made.
pub fn invite(made: &InviteResult) -> String {
    let generations: Vec<String> = made.generations.iter().map(u32::to_string).collect();
    let pairs = [
        ("file", format!("{}, {}", made.path, size::bytes(made.size_bytes))),
        ("opened by", made.nodes.join(", ")),
        ("generations", generations.join(", ")),
        ("there", format!("keymoult volume create PATH --replica-of {} --peers CONFIG --kek URI", made.path)),
        ("then", "destroy the file: it holds the keys, sealed to those nodes".into()),
    ];
    format!("volume {}: invite made\n{}", made.volume, properties(&pairs))
}

/// What a freeze did.
pub fn frozen(frozen: &PeerFrozen) -> String {
    let changed = if frozen.changed { "" } else { " (nothing to change)" };
    match &frozen.frozen {
        Some(it) => format!("frozen{changed}: nothing begins on any node, by {}: {}\n", it.actor, it.reason),
        None => format!("not frozen{changed}\n"),
    }
}

/// What a comparison found.
pub fn comparison(found: &PeerCheckStatus) -> String {
    let depth = if found.data { "data and generations" } else { "generations alone; --data compares the data" };
    let verdict = if found.bytes_differing > 0 { "replicas DIFFER" } else { "no difference" };
    let mut pairs = vec![("compared", format!("{} of {}", size::bytes(found.bytes_done), found.replicas.join(", ")))];
    pairs.extend(found.left_out.iter().map(|it| ("LEFT OUT", format!("{}: {}", it.node, it.why))));
    for (label, bytes) in [
        ("differing", found.bytes_differing),
        ("busy", found.bytes_busy),
        ("unreadable", found.bytes_unreadable),
        ("draining", found.bytes_draining),
    ] {
        pairs.extend((bytes > 0).then(|| (label, size::bytes(bytes))));
    }
    let mut text = format!("volume {}: {verdict} ({depth})\n{}", found.volume, properties(&pairs));
    text.extend(found.differences.iter().map(|it| format!("  {}\n", difference(it))));
    if found.unlisted > 0 {
        text.push_str(&format!("  and {} stretches more\n", found.unlisted));
    }
    text
}

fn difference(it: &Difference) -> String {
    let nodes = if it.nodes.is_empty() { String::new() } else { format!(" on {}", it.nodes.join(", ")) };
    let place = format!("bytes {} to {}", it.first, it.end);
    format!("{} {place}{nodes}", it.kind.name())
}
