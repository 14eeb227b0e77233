//! The volume layer's executor as the [`Backend`] of transmission.

use std::io;
use std::sync::Arc;

use super::backend::{self, Backend, Failed, Failure, Work};
use super::meta::Context;
use crate::engine::{Done, Engine};
use crate::volume::executor::{self, Executor, IoFailure, RequestKind};
use crate::volume::{StatusKind, Volume};

const _: () = assert!(executor::TOKEN_BIT == backend::TOKEN_BIT);

impl Backend for Executor {
    type Volume = Volume;

    fn start(&mut self, engine: &mut dyn Engine, request: backend::Request<Volume>) {
        let backend::Request { volume, session, cookie, work } = request;
        let kind = match work {
            Work::Read { offset, len } => RequestKind::Read { offset, len },
            Work::Write { offset, buf, range, fua } => RequestKind::Write { offset, payload: vec![(buf, range)], fua },
            Work::Flush => RequestKind::Flush,
            Work::Trim { offset, len, fua } => RequestKind::Trim { offset, len, fua },
            Work::Zeroes { offset, len, fua, no_hole } => RequestKind::Zeroes { offset, len, fua, no_hole },
            Work::Cache { offset, len } => RequestKind::Cache { offset, len },
        };
        Executor::start(self, engine, executor::Request { volume: Arc::clone(&volume), session, cookie, kind });
    }

    fn complete(&mut self, engine: &mut dyn Engine, done: Done) {
        Executor::complete(self, engine, done);
    }

    fn poll(&mut self, engine: &mut dyn Engine) {
        Executor::poll(self, engine);
    }

    fn finished(&mut self) -> Option<backend::Finished> {
        let executor::Finished { session, cookie, outcome, failed_at } = Executor::finished(self)?;
        let outcome = match outcome {
            Ok(executor::Reply::Done) => Ok(backend::Reply::Done),
            Ok(executor::Reply::Data(parts)) => Ok(backend::Reply::Data(parts)),
            Err(failure) => Err(Failed { failure: failure_of(failure), at: failed_at }),
        };
        Some(backend::Finished { session, cookie, outcome })
    }

    fn drop_session(&mut self, session: u32) {
        Executor::drop_session(self, session);
    }

    fn block_status(
        volume: &Volume,
        offset: u64,
        len: u64,
        context: Context,
        max: usize,
    ) -> io::Result<Vec<(u64, u32)>> {
        let kind = match context {
            Context::Allocation => StatusKind::Allocation,
            Context::Generation => StatusKind::Generation,
        };
        volume.block_status(offset, len, kind, max)
    }
}

fn failure_of(failure: IoFailure) -> Failure {
    match failure {
        IoFailure::NoSpace => Failure::NoSpace,
        IoFailure::Io | IoFailure::Poisoned => Failure::Io,
        IoFailure::ReadOnly => Failure::ReadOnly,
    }
}
