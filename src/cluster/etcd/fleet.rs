//! What concerns the whole fleet: the freeze, and the wave tokens.
//!
//! Invariant: all tokens stand in one key, which changes only if it is as it was read; so there are never more than its writers'
//! limit. No lease ends one: a dead holder's change may be half done.

use etcd_client::{Compare, Txn, TxnOp};

use super::lead::COLLISIONS_MAX;
use super::line::Line;
use super::reach::Trouble;
use super::view::{only, unmoved};
use super::{Answer, EtcdCoordinator, values};
use crate::cluster::coordinator::{CoordinatorError, Freeze, TOKENS_MAX, Taken, Token, spoken};
use crate::units::VolumeId;

impl EtcdCoordinator {
    pub(super) fn freezes(&self, freeze: &Freeze) -> Answer<Freeze> {
        spoken(freeze)?;
        let freeze = freeze.clone();
        self.call(move |line| set_freeze(line, freeze.clone()))
    }

    pub(super) fn frozen_now(&self) -> Answer<Option<Freeze>> {
        self.call(|mut line| async move { Ok(read_freeze(&mut line).await?.map(|(freeze, _)| freeze)) })
    }

    pub(super) fn unfreezes(&self) -> Answer<Option<Freeze>> {
        self.call(|mut line| async move {
            for _ in 0..COLLISIONS_MAX {
                let Some((freeze, revision)) = read_freeze(&mut line).await? else { return Ok(None) };
                let key = line.shared.names.freeze();
                let txn = Txn::new().when([unmoved(key.clone(), revision)]).and_then([TxnOp::delete(key, None)]);
                if line.txn(txn).await?.succeeded() {
                    return Ok(Some(freeze));
                }
            }
            Err(collided())
        })
    }

    pub(super) fn takes_token(&self, volume: VolumeId, since: u64, limit: usize) -> Answer<Taken> {
        self.call(move |line| take_token(line, volume, since, limit))
    }

    pub(super) fn returns_token(&self, volume: VolumeId) -> Answer<()> {
        self.call(move |mut line| async move {
            for _ in 0..COLLISIONS_MAX {
                let view = line.view(volume).await?;
                let guard = line.guard(volume, line.led(volume, &view)?);
                if remove(&mut line, volume, Some(guard)).await?.is_some() {
                    return Ok(());
                }
            }
            Err(collided())
        })
    }

    pub(super) fn drops_token(&self, volume: VolumeId) -> Answer<bool> {
        self.call(move |mut line| async move {
            for _ in 0..COLLISIONS_MAX {
                if let Some(was_there) = remove(&mut line, volume, None).await? {
                    return Ok(was_there);
                }
            }
            Err(collided())
        })
    }

    pub(super) fn tokens_now(&self) -> Answer<Vec<Token>> {
        self.call(|mut line| async move { Ok(read_tokens(&mut line).await?.0) })
    }
}

fn collided() -> Trouble {
    CoordinatorError::NoQuorum("others write at the same time, again and again".into()).into()
}

async fn read_freeze(line: &mut Line) -> Result<Option<(Freeze, i64)>, Trouble> {
    let answers = line.read(vec![(line.shared.names.freeze(), None)]).await?;
    let found = answers.first().and_then(only);
    Ok(found.map(|found| (values::freeze(found.value()), found.mod_revision())))
}

async fn set_freeze(mut line: Line, freeze: Freeze) -> Result<Freeze, Trouble> {
    for _ in 0..COLLISIONS_MAX {
        if let Some((stands, _)) = read_freeze(&mut line).await? {
            return Ok(stands);
        }
        let key = line.shared.names.freeze();
        let put = TxnOp::put(key.clone(), values::of_freeze(&freeze), None);
        if line.txn(Txn::new().when([unmoved(key, 0)]).and_then([put])).await?.succeeded() {
            return Ok(freeze);
        }
    }
    Err(collided())
}

/// The tokens, and the revision of their key; 0: none yet.
async fn read_tokens(line: &mut Line) -> Result<(Vec<Token>, i64), Trouble> {
    let key = line.shared.names.tokens();
    let answers = line.read(vec![(key.clone(), None)]).await?;
    match answers.first().and_then(only) {
        Some(found) => Ok((values::tokens(found.value()).map_err(values::at(&key))?, found.mod_revision())),
        None => Ok((Vec::new(), 0)),
    }
}

async fn take_token(mut line: Line, volume: VolumeId, since: u64, limit: usize) -> Result<Taken, Trouble> {
    for _ in 0..COLLISIONS_MAX {
        let view = line.view(volume).await?;
        let guard = line.guard(volume, line.led(volume, &view)?);
        let (mut tokens, revision) = read_tokens(&mut line).await?;
        if tokens.iter().any(|token| token.volume == volume) {
            return Ok(Taken::Yes);
        }
        if tokens.len() >= limit.min(TOKENS_MAX) {
            return Ok(Taken::Full(tokens));
        }
        tokens.push(Token { volume, node: line.shared.node.clone(), since });
        if write_tokens(&mut line, &tokens, revision, Some(guard)).await? {
            return Ok(Taken::Yes);
        }
    }
    Err(collided())
}

/// Takes a volume's token away: whether there was one; none if somebody came between.
async fn remove(line: &mut Line, volume: VolumeId, guard: Option<Compare>) -> Result<Option<bool>, Trouble> {
    let (mut tokens, revision) = read_tokens(line).await?;
    let before = tokens.len();
    tokens.retain(|token| token.volume != volume);
    if tokens.len() == before {
        return Ok(Some(false));
    }
    Ok(write_tokens(line, &tokens, revision, guard).await?.then_some(true))
}

async fn write_tokens(
    line: &mut Line,
    tokens: &[Token],
    revision: i64,
    guard: Option<Compare>,
) -> Result<bool, Trouble> {
    let key = line.shared.names.tokens();
    let guards: Vec<Compare> = [unmoved(key.clone(), revision)].into_iter().chain(guard).collect();
    let put = TxnOp::put(key, values::of_tokens(tokens), None);
    Ok(line.txn(Txn::new().when(guards).and_then([put])).await?.succeeded())
}
