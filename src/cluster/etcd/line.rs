//! One piece of work on one endpoint: every answer passes here and is compared with what etcd has shown.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use etcd_client::{Client, GetOptions, GetResponse, Txn, TxnOp, TxnOpResponse, TxnResponse};
use tokio::time::{Instant, sleep, timeout};

use super::fault::Fault;
use super::reach::{ATTEMPT, Trouble, pause};
use super::{Answer, Shared};
use crate::cluster::coordinator::CoordinatorError;

/// The connection a piece of work has.
pub struct Line {
    pub(super) shared: Arc<Shared>,
    pub(super) client: Client,
}

impl Line {
    /// Carries out `work` on one endpoint after the other until it gives an answer, or `patience` is at its end.
    pub(super) async fn run<T, F, Fut>(shared: &Arc<Shared>, patience: Duration, work: F) -> Answer<T>
    where
        F: Fn(Line) -> Fut,
        Fut: Future<Output = Result<T, Trouble>>,
    {
        let end = Instant::now() + patience;
        let mut told = None;
        let mut mistrusted = 0;
        for attempt in 0_u32.. {
            let left = end.saturating_duration_since(Instant::now());
            let (index, fault) = match timeout(left.min(ATTEMPT), Line::attempt(shared, &work)).await {
                Ok(Ok(answer)) => return Ok(answer),
                Ok(Err((_, Trouble::Verdict(verdict)))) => return Err(verdict),
                Ok(Err((index, Trouble::Fault(fault)))) => (index, fault),
                Err(_) => (shared.reach.index(), Fault::Unreachable("no answer in time".into())),
            };
            let fault = fault.at(shared.reach.name(index));
            if !fault.is_passing() {
                return Err(fault.into());
            }
            if fault != Fault::LeaseLost {
                shared.reach.move_on(index);
            }
            mistrusted += usize::from(matches!(fault, Fault::Certificate(_)));
            let worst = fault.more_telling(told.take());
            if Instant::now() >= end || mistrusted >= shared.reach.count() {
                return Err(worst.into());
            }
            told = Some(worst);
            let round = attempt / u32::try_from(shared.reach.count()).unwrap_or(u32::MAX);
            sleep(pause(round).min(end.saturating_duration_since(Instant::now()))).await;
        }
        Err(CoordinatorError::Other("tried for ever".into()))
    }

    async fn attempt<T, F, Fut>(shared: &Arc<Shared>, work: &F) -> Result<T, (usize, Trouble)>
    where
        F: Fn(Line) -> Fut,
        Fut: Future<Output = Result<T, Trouble>>,
    {
        let index = shared.reach.index();
        let (index, client) = shared.reach.client().await.map_err(|trouble| (index, trouble))?;
        work(Line { shared: Arc::clone(shared), client }).await.map_err(|trouble| (index, trouble))
    }

    /// A transaction, of which nothing is compared with what was shown before. For an operator's word alone.
    pub(super) async fn txn_unheeded(&mut self, txn: Txn) -> Result<TxnResponse, Trouble> {
        Ok(self.client.txn(txn).await?)
    }

    /// A transaction.
    pub(super) async fn txn(&mut self, txn: Txn) -> Result<TxnResponse, Trouble> {
        let asked = self.shared.seen().revision;
        let response = self.client.txn(txn).await?;
        self.shared.seen().notice_header(asked, response.header())?;
        Ok(response)
    }

    /// A transaction that puts something under this node's lease. A lease that is gone is forgotten, and had anew the next time.
    pub(super) async fn txn_under(&mut self, lease: i64, txn: Txn) -> Result<TxnResponse, Trouble> {
        let done = self.txn(txn).await;
        if let Err(Trouble::Fault(Fault::LeaseLost)) = done {
            self.shared.held().lose(lease);
        }
        done
    }

    /// Reads keys, all at one moment.
    pub(super) async fn read(&mut self, keys: Vec<(String, Option<GetOptions>)>) -> Result<Vec<GetResponse>, Trouble> {
        let count = keys.len();
        let gets: Vec<TxnOp> = keys.into_iter().map(|(key, options)| TxnOp::get(key, options)).collect();
        let response = self.txn(Txn::new().and_then(gets)).await?;
        Ok(gotten(&response, count)?)
    }
}

/// The answers of a transaction that reads `count` keys.
pub fn gotten(response: &TxnResponse, count: usize) -> Answer<Vec<GetResponse>> {
    let gets = response.op_responses().into_iter().filter_map(|response| match response {
        TxnOpResponse::Get(get) => Some(get),
        _ => None,
    });
    let gets: Vec<GetResponse> = gets.collect();
    match gets.len() == count {
        true => Ok(gets),
        false => Err(CoordinatorError::Other("an answer with a part missing".into())),
    }
}
