//! `keymoult help`: a command's own help, or a topic.

use clap::CommandFactory;

use super::args::{Cli, HelpArgs};
use super::exit::Exit;
use super::failure::Failure;
use super::output::{Output, row, table};

/// The table of commands in `keymoult --help`.
pub const COMMANDS: &str = "\
Volumes on this machine:
  volume create PATH --size 10GiB --kek URI   make an encrypted volume
  volume info PATH                            say what a volume is, with or without a key
  volume check PATH [--kek URI] [--full]      check a volume that nobody serves
  volume prove PATH --generation N --kek URI  prove that a key can be had, served or not
  volume resize PATH --size 20GiB --kek URI   make a volume larger that nobody serves
  volume header-backup PATH --to F --kek URI  back up the header of one that nobody serves
  volume header-restore PATH --from F --kek … restore a header, unless it would decrypt to garbage
  key import-escrow BUNDLE PATH --identity F  take keys back from escrow, under a new KEK
  drill restore PATH --bundle FILE            rehearse a restore of a backup or bundle
  serve [NAME=]PATH… --kek URI                serve volumes over NBD until told to stop
  serve --config FILE                         the same, from a configuration file

A running daemon:
  status [VOLUME] [--watch]                   show the daemon and its volumes
  volume check VOLUME --online [--full]       check a volume while it is served
  volume resize VOLUME --size 20GiB           make it larger while it is served
  volume header-backup VOLUME --to FILE       back up its header while it is served
  key list VOLUME                             list the keys of a volume
  key retire VOLUME GENERATION                prove that nothing needs a key, take it out of memory
  key restore VOLUME GENERATION               bring a retired key back
  key schedule VOLUME GENERATION              give its destruction a date
  key cancel VOLUME GENERATION                withdraw that date
  key destroy VOLUME GENERATION               erase it, and prove that nothing of it is left
  key compromise VOLUME GENERATION            others know it: re-encrypt at top priority
  key revoke VOLUME GENERATION                withdraw it, whatever it encrypts
  key reinstate VOLUME GENERATION             give a withdrawn key back
  key verify-proof VOLUME FILE                check what `key retire` has signed
  key rewrap VOLUME --to URI                  have another KEK open it instead
  key wrap-add VOLUME --to URI                have another KEK open it, too
  key wrap-remove VOLUME --from KEKID         take a KEK's wraps away
  key holder list VOLUME                      list what holds its keys elsewhere
  key holder add VOLUME --label TEXT          declare a snapshot that does
  key holder release VOLUME --holder ID       declare a holder gone
  key export-escrow VOLUME --recipient age1…  seal its keys to k of n recipients
  drill restore VOLUME --bundle FILE          rehearse a restore while it is served
  rotate plan VOLUME                          say what a rotation would do
  rotate start VOLUME [--wait]                make a new key and re-encrypt with it
  rotate status VOLUME                        show where the rotation stands
  rotate wait VOLUME                          wait until it is done
  rotate pause VOLUME                         hold it
  rotate resume VOLUME                        let it go on
  rotate pace VOLUME --rate 200MiB            change how fast it goes
  rotate rollback VOLUME                      go back to the old key
  rotate verify VOLUME                        read back what was re-encrypted
  rotate finalize VOLUME                      end the way back
  peer list                                   show this node, its links, its replicated volumes
  peer status [VOLUME]                        show replicas, what is waited for, what to do
  peer promote VOLUME                         make this node the lead
  peer expel VOLUME NODE --reason TEXT        go on without a node, for good
  peer admit VOLUME PUBLIC --address H:PORT   take a node in
  peer abandon VOLUME                         give up a new key that is not active yet
  peer invite VOLUME --node NODE --into FILE  seal its keys to nodes that shall make replicas
  peer check VOLUME [--data]                  compare its replicas
  peer freeze --reason TEXT                   keep every node from beginning a change
  peer unfreeze                               end that
  peer release-token ID NODE --reason TEXT    take a leave to rotate back from a node that is gone
  peer accept-history VOLUME --reason TEXT    believe a coordinator that lost something
  audit show                                  show what was done, and by whom
  audit verify                                check that nobody rewrote that

Nodes that keep replicas of the same volumes:
  peer init-ca --node A=HOST:PORT… --into DIR make keys and certificates for all nodes
  peer issue --ca DIR --node D=HOST:PORT      add a node, or renew certificates (--renew NAME)
  peer revoke-certificate NAME --ca DIR       withdraw the certificates of a node

This machine:
  speed                                       measure crypto engines, ring and backing
  help [COMMAND | exit-codes | sizes]         explain";

const SIZES: &str = "\
A size is a whole number and a unit: 4096, 64KiB, 512MiB, 10GiB, 2TiB. Units are binary: 1 KiB is 1024 bytes; K, M, G and T
stand for KiB, MiB, GiB and TiB. Decimal units (MB, GB) are refused, since half of the world means something else by them.
A rate is a size per second: 200MiB or 200MiB/s, or `unlimited`.
";

/// Explains.
pub fn run(args: &HelpArgs, output: &Output) -> Result<Exit, Failure> {
    let topic: Vec<&str> = args.topic.iter().map(String::as_str).collect();
    match topic.as_slice() {
        ["exit-codes"] => exit_codes(output)?,
        ["sizes"] => output.text(SIZES)?,
        path => output.text(&of_command(path)?)?,
    }
    Ok(Exit::Ok)
}

fn exit_codes(output: &Output) -> Result<(), Failure> {
    let list: Vec<_> = Exit::ALL.iter().map(|exit| (exit.code(), exit.word(), exit.meaning())).collect();
    output.result(&list, |list| {
        let rows: Vec<_> =
            list.iter().map(|(code, word, meaning)| row([&format!("{code:>3}"), word, meaning])).collect();
        table(&rows)
    })
}

/// The help of the command at `path`.
fn of_command(path: &[&str]) -> Result<String, Failure> {
    let mut command = Cli::command();
    command.build();
    for word in path {
        let Some(next) = command.find_subcommand(word) else {
            return Err(Failure::new(Exit::Usage, format!("no help on `{}`", path.join(" ")))
                .hint("name a command, exit-codes or sizes; `keymoult --help` lists the commands"));
        };
        command = next.clone();
    }
    Ok(command.render_long_help().to_string())
}
