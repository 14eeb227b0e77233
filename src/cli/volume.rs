//! `keymoult volume …` and `keymoult speed`: arguments in, [`super::local`] and its neighbours do it, the result out.

use super::args::{CreateArgs, Global, SpeedArgs, VolumeCommand};
use super::exit::Exit;
use super::failure::{Failure, bad_input};
use super::output::Output;
use super::progress::Progress;
use super::records::Records;
use super::{backup, examine, local, prove, report, resize};
use crate::control::authorize::Verb;

/// Runs a `volume` command.
pub fn run(command: &VolumeCommand, global: &Global, output: &Output) -> Result<Exit, Failure> {
    match command {
        VolumeCommand::Create(args) => create(args, output),
        VolumeCommand::Info(args) => examine::info(args, output),
        VolumeCommand::Check(args) if args.online => examine::check_online(args, global, output),
        VolumeCommand::Check(args) => examine::check(args, output),
        VolumeCommand::Prove(args) => prove::run(args, output),
        VolumeCommand::Resize(args) => resize::run(args, global, output),
        VolumeCommand::HeaderBackup(args) => backup::back_up(args, global, output),
        VolumeCommand::HeaderRestore(args) => backup::restore(args, output),
    }
}

fn create(args: &CreateArgs, output: &Output) -> Result<Exit, Failure> {
    args.check()?;
    if args.size.is_none() && !is_block_device(&args.path) {
        return Err(bad_input("a volume in a file needs a size")
            .at(args.path.display().to_string())
            .hint("add --size 10GiB"));
    }
    let records = Records::wanted(&args.record, output)?;
    let mut progress = Progress::new(output);
    let made = records.act(Verb::VolumeCreate, &args.path, None, || local::create(args, &records, &mut progress))?;
    progress.end();
    output.result(&made, report::created)?;
    Ok(Exit::Ok)
}

fn is_block_device(path: &std::path::Path) -> bool {
    use std::os::unix::fs::FileTypeExt;
    std::fs::metadata(path).is_ok_and(|metadata| metadata.file_type().is_block_device())
}

/// Runs `speed`.
pub fn speed(args: &SpeedArgs, output: &Output) -> Result<Exit, Failure> {
    let mut progress = Progress::new(output);
    let speed = local::speed(args, &mut progress)?;
    progress.end();
    output.result(&speed, report::speed)?;
    Ok(Exit::Ok)
}
