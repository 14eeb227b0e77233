//! `keymoult peer …` of a running daemon: arguments in, the daemon asked, what was reached out.
//!
//! Invariants: an act that is not committed when the daemon answers ends with 10 and names whom it waits for; a comparison of
//! replicas ends with 5 if data differ, with 10 if it could not look at everything, and with 0 when all is equal.

mod advice;
mod text;

use std::time::Duration;

use super::args::{Global, PeerCheckArgs, PeerCommand};
use super::exit::Exit;
use super::failure::Failure;
use super::output::Output;
use super::progress::Progress;
use super::{files, issue, remote};
use crate::control::Client;
use crate::control::api::{
    AdmitRequest, CheckState, ExpelRequest, FreezeRequest, HistoryRequest, InviteRequest, PeerActed, PeerCheckRequest,
    PeerCheckStatus, PeerRole, PeerStatus, ReasonRequest, TokenRequest,
};

pub use text::member_pairs;

/// Bytes per second a replica reads at most for a comparison, unless told otherwise.
const RATE: u64 = 200 << 20;
/// Pause between two looks at a comparison that runs.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Runs a `peer` command.
pub fn run(command: &PeerCommand, global: &Global, output: &Output) -> Result<Exit, Failure> {
    if let PeerCommand::Issue(command) = command {
        return issue::run(command, output);
    }
    let client = remote::client(global)?;
    let acted = match command {
        PeerCommand::Issue(_) => return Ok(Exit::Ok),
        PeerCommand::List => {
            output.result(&client.peers()?, text::list)?;
            return Ok(Exit::Ok);
        }
        PeerCommand::Status { volume } => return status(&client, volume.as_deref(), output),
        PeerCommand::Check(args) => return check(&client, args, output),
        PeerCommand::Invite(args) => {
            let (nodes, reason) = (args.nodes.clone(), args.reason.clone());
            let request = InviteRequest { nodes, into: files::absolute(&args.into)?, reason };
            output.result(&client.invite(&args.volume, &request)?, text::invite)?;
            return Ok(Exit::Ok);
        }
        PeerCommand::Freeze { reason } => {
            let request = FreezeRequest { reason: reason.clone() };
            output.result(&client.peer_freeze("freeze", &request)?, text::frozen)?;
            return Ok(Exit::Ok);
        }
        PeerCommand::Unfreeze { reason } => {
            let request = ReasonRequest { reason: reason.clone() };
            output.result(&client.peer_freeze("unfreeze", &request)?, text::frozen)?;
            return Ok(Exit::Ok);
        }
        PeerCommand::ReleaseToken { volume, node, reason } => {
            let (volume, node, reason) = (volume.clone(), node.clone(), reason.clone());
            client.release_token(&TokenRequest { volume, node, reason })?
        }
        PeerCommand::AcceptHistory { volume, reason } => {
            client.peer_act(volume, "accept-history", &HistoryRequest { reason: reason.clone() })?
        }
        PeerCommand::Promote(args) => client.peer_act(&args.volume, "promote", &args.request())?,
        PeerCommand::Abandon(args) => client.peer_act(&args.volume, "abandon", &args.request())?,
        PeerCommand::Expel(args) => {
            let request = ExpelRequest { node: args.node.clone(), reason: args.reason.clone() };
            client.peer_act(&args.volume, "expel", &request)?
        }
        PeerCommand::Admit(args) => {
            let role = if args.witness { PeerRole::Witness } else { PeerRole::Full };
            let (public, address, reason) = (args.public.clone(), args.address.clone(), args.reason.clone());
            client.peer_act(&args.volume, "admit", &AdmitRequest { public, role, address, reason })?
        }
    };
    finish(&acted, output)
}

fn finish(acted: &PeerActed, output: &Output) -> Result<Exit, Failure> {
    output.result(acted, text::acted)?;
    Ok(if acted.complete { Exit::Ok } else { Exit::NotReached })
}

fn status(client: &Client, volume: Option<&str>, output: &Output) -> Result<Exit, Failure> {
    if let Some(volume) = volume {
        output.result(&client.peer_status(volume)?, text::status)?;
        return Ok(Exit::Ok);
    }
    let names = client.peers()?.volumes.into_iter().map(|it| it.volume);
    let all: Vec<PeerStatus> = names.map(|name| client.peer_status(&name)).collect::<Result<_, _>>()?;
    output.result(&all, |all| match all.is_empty() {
        true => "no volume is replicated\n".into(),
        false => all.iter().map(text::status).collect::<Vec<_>>().join("\n"),
    })?;
    Ok(Exit::Ok)
}

/// The daemons compare, this waits for the outcome.
fn check(client: &Client, args: &PeerCheckArgs, output: &Output) -> Result<Exit, Failure> {
    let bytes_per_s = args.rate.map_or(Some(RATE), |rate| rate.0);
    let request = PeerCheckRequest { data: args.data, bytes_per_s, reason: args.reason.clone() };
    let mut found = client.peer_check(&args.volume, &request)?;
    let mut progress = Progress::new(output);
    progress.begin("comparing", found.bytes_total);
    while found.state == CheckState::Running {
        std::thread::sleep(LOOK_EVERY);
        found = client.peer_check_status(&args.volume)?;
        progress.advance(found.bytes_done);
    }
    progress.end();
    if found.state != CheckState::Done {
        let why = found.why.unwrap_or_else(|| "another comparison has taken its place".into());
        return Err(Failure::new(Exit::NotReached, "the comparison did not come to an end")
            .at(format!("volume {}", args.volume))
            .at(format!("because: {why}"))
            .hint("nothing was changed; ask again"));
    }
    output.result(&found, text::comparison)?;
    Ok(verdict(&found))
}

fn verdict(found: &PeerCheckStatus) -> Exit {
    let unseen = found.bytes_busy + found.bytes_unreadable > 0 || !found.left_out.is_empty();
    match (found.bytes_differing > 0, unseen) {
        (true, _) => Exit::Damaged,
        (false, true) => Exit::NotReached,
        (false, false) => Exit::Ok,
    }
}
