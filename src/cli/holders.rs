//! `keymoult key holder list|add|release`: what holds keys of a volume outside it, through its daemon or, with a key, without one.

use super::args::{Global, HolderCommand, VolumeArgs};
use super::backup::{alone, name};
use super::exit::Exit;
use super::failure::Failure;
use super::operations::holders;
use super::output::{Output, row, table};
use super::{remote, size};
use crate::control::api::{HolderInfo, HolderList, HolderNamed, HolderRequest, HolderResult};
use crate::control::authorize::Verb;

/// Runs a `key holder` command.
pub fn run(command: &HolderCommand, global: &Global, output: &Output) -> Result<Exit, Failure> {
    match command {
        HolderCommand::List { of } => output.result(&list(of, global)?, list_text)?,
        HolderCommand::Add { of, label, first, last } => {
            let (first_generation, last_generation, reason) = (*first, *last, of.reason.clone());
            let request = HolderRequest { label: label.clone(), first_generation, last_generation, reason };
            let added = match of.keks.is_empty() {
                true => remote::client(global)?.add_holder(&name(of), &request)?,
                false => alone(of, Verb::HolderAdd, |volume, _| holders::add(&name(of), volume, &request))?,
            };
            output.result(&added, |added| result_text(added, "on record"))?;
        }
        HolderCommand::Release { of, holder } => {
            let request = HolderNamed { holder: holder.clone(), reason: of.reason.clone() };
            let released = match of.keks.is_empty() {
                true => remote::client(global)?.release_holder(&name(of), &request)?,
                false => alone(of, Verb::HolderRelease, |volume, _| holders::release(&name(of), volume, &request))?,
            };
            let word = if released.changed { "released" } else { "released already" };
            output.result(&released, |released| result_text(released, word))?;
        }
    }
    Ok(Exit::Ok)
}

fn list(of: &VolumeArgs, global: &Global) -> Result<HolderList, Failure> {
    match of.keks.is_empty() {
        true => Ok(remote::client(global)?.holders(&name(of))?),
        false => alone(of, Verb::HolderShow, |volume, _| Ok(holders::list(&name(of), volume, None))),
    }
}

fn result_text(result: &HolderResult, word: &str) -> String {
    let holder = &result.holder;
    let (kind, label, generations) = (holder.kind.name(), &holder.label, generations(holder));
    format!("{kind} {label} of {} ({}), generations {generations}: {word}\n", result.volume, holder.id)
}

fn generations(holder: &HolderInfo) -> String {
    format!("{} to {}", holder.first_generation, holder.last_generation)
}

fn list_text(list: &HolderList) -> String {
    if list.holders.is_empty() {
        return format!("nothing on record holds keys of {} outside it\n", list.volume);
    }
    let mut rows = vec![row(["holder", "kind", "generations", "made", "drilled", "label", ""])];
    for holder in &list.holders {
        let state = match (&holder.released, holder.overdue) {
            (Some(when), _) => format!("released {when}"),
            (None, true) => "drill OVERDUE".into(),
            (None, false) => String::new(),
        };
        let drilled = holder.drilled.as_deref().unwrap_or("never");
        let id = holder.id.get(..12).unwrap_or(&holder.id);
        rows.push(row([id, holder.kind.name(), &generations(holder), &holder.made, drilled, &holder.label, &state]));
    }
    let policy = list.drill_max_age_s.map(|age| format!("policy: a drill at least every {}\n", size::seconds(age)));
    table(&rows) + &policy.unwrap_or_default()
}
