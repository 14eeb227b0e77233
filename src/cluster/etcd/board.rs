//! What nodes show each other, and what operators ask of a volume's lead.

use etcd_client::{GetOptions, PutOptions, Txn, TxnOp};

use super::line::Line;
use super::names::tail;
use super::reach::Trouble;
use super::view::{only, unmoved};
use super::{Answer, EtcdCoordinator, values};
use crate::cluster::coordinator::{CoordinatorError, REQUEST_MAX, REQUESTS_MAX, Request, STATE_MAX, within};
use crate::cluster::name::NodeName;
use crate::units::VolumeId;

/// Nodes whose state is read; more than a record has members.
const STATES_MAX: usize = 64;

impl EtcdCoordinator {
    pub(super) fn reports(&self, volume: VolumeId, state: &[u8]) -> Answer<()> {
        within("the state", state.len(), STATE_MAX)?;
        let state = state.to_vec();
        self.call(move |mut line| {
            let state = state.clone();
            async move {
                let lease = line.lease().await?;
                let key = line.shared.names.state(volume, &line.shared.node);
                let put = TxnOp::put(key, state, Some(PutOptions::new().with_lease(lease)));
                line.txn_under(lease, Txn::new().and_then([put])).await.map(|_| ())
            }
        })
    }

    pub(super) fn shown(&self, volume: VolumeId) -> Answer<Vec<(NodeName, Vec<u8>)>> {
        self.call(move |mut line| async move {
            let prefix = line.shared.names.states(volume);
            let found = line.below(prefix.clone(), STATES_MAX, "the list of states").await?;
            let one = |(key, value): (Vec<u8>, Vec<u8>)| {
                let wrong = |why: String| values::at(&String::from_utf8_lossy(&key))(why);
                let name = tail(&prefix, &key).and_then(|name| name.parse().ok());
                let name = name.ok_or_else(|| wrong("no name of a node".into()))?;
                match value.len() {
                    len if len > STATE_MAX => Err(wrong(format!("{len} bytes, at most {STATE_MAX}"))),
                    _ => Ok((name, value)),
                }
            };
            Ok(found.into_iter().map(one).collect::<Answer<_>>()?)
        })
    }

    pub(super) fn asks(&self, volume: VolumeId, request: &Request) -> Answer<()> {
        within("the request", request.bytes.len(), REQUEST_MAX)?;
        let request = request.clone();
        self.call(move |line| ask(line, volume, request.clone()))
    }

    pub(super) fn waiting(&self, volume: VolumeId) -> Answer<Vec<Request>> {
        self.call(move |mut line| async move { requests(&mut line, volume).await })
    }

    pub(super) fn answers(&self, volume: VolumeId, id: u64) -> Answer<()> {
        self.call(move |mut line| async move {
            let view = line.view(volume).await?;
            let mine = line.led(volume, &view)?;
            let key = line.shared.names.request(volume, id);
            let txn = Txn::new().when([line.guard(volume, mine)]).and_then([TxnOp::delete(key, None)]);
            match line.txn(txn).await?.succeeded() {
                true => Ok(()),
                false => Err(CoordinatorError::NotLead { lead: None }.into()),
            }
        })
    }
}

async fn ask(mut line: Line, volume: VolumeId, request: Request) -> Result<(), Trouble> {
    let waiting = requests(&mut line, volume).await?;
    let known = waiting.iter().any(|known| known.id == request.id);
    within("the list of waiting requests", waiting.len() + usize::from(!known), REQUESTS_MAX)?;
    let key = line.shared.names.request(volume, request.id);
    let txn = Txn::new()
        .when([unmoved(key.clone(), 0)])
        .and_then([TxnOp::put(key.clone(), request.bytes.clone(), None)])
        .or_else([TxnOp::get(key, None)]);
    let response = line.txn(txn).await?;
    if response.succeeded() {
        return Ok(());
    }
    let answers = response.op_responses();
    let there = answers.iter().find_map(|answer| match answer {
        etcd_client::TxnOpResponse::Get(get) => only(get),
        _ => None,
    });
    match there {
        Some(there) if there.value() == request.bytes => Ok(()),
        _ => Err(CoordinatorError::Taken { id: request.id }.into()),
    }
}

async fn requests(line: &mut Line, volume: VolumeId) -> Result<Vec<Request>, Trouble> {
    let prefix = line.shared.names.requests(volume);
    // Two askers at once can each add the last one.
    let found = line.below(prefix.clone(), REQUESTS_MAX * 2, "the list of waiting requests").await?;
    let one = |(key, bytes): (Vec<u8>, Vec<u8>)| {
        let wrong = |why: String| values::at(&String::from_utf8_lossy(&key))(why);
        let digits = tail(&prefix, &key).filter(|digits| digits.len() == 16 && !digits.starts_with('+'));
        let id = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
        let id = id.ok_or_else(|| wrong("no number of a request".into()))?;
        match bytes.len() {
            len if len > REQUEST_MAX => Err(wrong(format!("{len} bytes, at most {REQUEST_MAX}"))),
            _ => Ok(Request { id, bytes }),
        }
    };
    Ok(found.into_iter().map(one).collect::<Answer<_>>()?)
}

impl Line {
    /// Keys and values below a prefix, in order, at most so many.
    async fn below(
        &mut self,
        prefix: String,
        max: usize,
        what: &'static str,
    ) -> Result<Vec<(Vec<u8>, Vec<u8>)>, Trouble> {
        let limit = i64::try_from(max + 1).unwrap_or(i64::MAX);
        let options = GetOptions::new().with_prefix().with_limit(limit);
        let mut answers = self.read(vec![(prefix, Some(options))]).await?;
        let found = answers.pop().map(|mut answer| answer.take_kvs()).unwrap_or_default();
        within(what, found.len(), max)?;
        Ok(found.into_iter().map(etcd_client::KeyValue::into_key_value).collect())
    }
}
