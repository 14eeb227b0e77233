//! The command line, one argument to a line: sizes, rates, ranges, names, sockets, heads and everything else the
//! arguments are made of. Promises: it is read or refused with a message; a plan of what is read is made or refused.

use std::path::PathBuf;

use clap::Parser;
use keymoult::cli::args::{Cli, Command, VolumeCommand};
use keymoult::cli::config::plan;

pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let arguments = std::iter::once("keymoult").chain(text.lines());
    match Cli::try_parse_from(arguments) {
        Err(error) => assert!(!error.to_string().is_empty()),
        Ok(cli) => match cli.command {
            Command::Volume { command: VolumeCommand::Create(create) } if create.check().is_ok() => {
                let size = create.size.unwrap_or(create.extent_size);
                assert!(size >= 64 << 10 && size.is_multiple_of(create.sector_size.into()));
                assert!(create.max_size.is_none_or(|max| max >= size || create.size.is_none()));
            }
            Command::Serve(serve) if serve.config.is_none() => {
                if let Ok(plan) = plan(&serve, cli.global.control.as_ref(), || Ok(PathBuf::from("/run/c"))) {
                    super::config::holds(&plan, serve.insecure);
                }
            }
            _ => {}
        },
    }
}
