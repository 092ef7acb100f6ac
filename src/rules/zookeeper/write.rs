//! Writing a rule: compare-and-set, and no word on it before it is known what became of it.

use std::time::Duration;

use tokio::time::{Instant, sleep, timeout_at};
use zookeeper_client::{Client, CreateMode, Error, MultiWriteResult, Stat};

use super::{RECONNECT, Shared, names, payload, version};
use crate::model::AppId;
use crate::rules::{RuleVersion, StoreError, Versioned};

/// What is to be written.
pub(super) struct Change<'a> {
    pub(super) app: &'a AppId,
    pub(super) expected: Option<&'a RuleVersion>,
    /// The new payload; `None`: the rule goes.
    pub(super) payload: Option<Vec<u8>>,
}

/// A rule's node as it is now.
struct Current {
    name: String,
    node: Option<(Vec<u8>, Stat)>,
}

/// How an attempt ended.
enum Attempt {
    /// It is done; the transaction.
    Done(i64),
    /// Somebody else was faster, whoever's rule it was: look again.
    Again,
    /// It may be done, or not, or yet to come.
    Unknown(Error),
}

impl Shared {
    /// Writes, and is done when it is known what became of it. The version of what was written.
    pub(super) async fn write(&self, change: Change<'_>) -> Result<RuleVersion, StoreError> {
        let deadline = Instant::now() + self.settings.write_timeout();
        let mut doubt: Option<Error> = None;
        loop {
            // While nothing is in doubt, a refusal comes soon; what is in doubt is worth the wait.
            let patience = if doubt.is_some() { deadline } else { deadline.min(Instant::now() + RECONNECT) };
            let client = match self.session(patience).await {
                Ok(client) => client,
                Err(_) if doubt.is_some() => return Err(unconfirmed(&change, doubt.as_ref())),
                Err(error) => return Err(error),
            };
            match timeout_at(deadline, self.step(&client, &change, &mut doubt)).await {
                Ok(Ok(Some(version))) => return Ok(version),
                Ok(Ok(None)) => sleep(Duration::from_millis(fastrand::u64(1..20))).await,
                Ok(Err(StoreError::Unavailable { .. })) if doubt.is_some() => {
                    return Err(unconfirmed(&change, doubt.as_ref()));
                }
                Ok(Err(error)) => return Err(error),
                Err(_) if doubt.is_some() => return Err(unconfirmed(&change, doubt.as_ref())),
                Err(_) => return Err(self.unavailable("nothing was written")),
            }
            if Instant::now() >= deadline {
                return Err(match doubt {
                    Some(_) => unconfirmed(&change, doubt.as_ref()),
                    None => self.unavailable("nothing was written"),
                });
            }
        }
    }

    /// Looks, compares, and writes; or finds out what became of the write before.
    async fn step(
        &self,
        client: &Client,
        change: &Change<'_>,
        doubt: &mut Option<Error>,
    ) -> Result<Option<RuleVersion>, StoreError> {
        if doubt.is_some() {
            // Every write checks the base node's version: once it has moved on, what was in doubt is done or never will be.
            match client.set_data(&self.settings.base, b"", None).await {
                Ok(_) => {}
                Err(error) => return self.soft(&error).map(|()| None),
            }
        }
        let (base, current) = match self.look(client, change.app).await {
            Ok(looked) => looked,
            Err(error) => return self.soft(&error).map(|()| None),
        };
        // A record that cannot be used is as good as none: whoever writes the rule mends it.
        let usable = |(data, _): &&(Vec<u8>, Stat)| payload::decode(change.app, data).is_ok();
        let there = current.node.as_ref().filter(usable).map(|(_, stat)| version(stat.mzxid));
        match doubt.take() {
            Some(_) if there.as_ref() == change.expected => {}
            Some(doubt) => {
                return match done(change, &current) {
                    Some(version) => Ok(Some(version)),
                    // Ours, and then another's on top of it; or another's alone.
                    None => Err(unconfirmed(change, Some(&doubt))),
                };
            }
            None if there.as_ref() == change.expected => {}
            None => return Err(conflict(change, current)),
        }
        // Set before the request is on its way: whoever gives up on this future has a write in doubt.
        *doubt = Some(Error::Timeout);
        match self.attempt(client, change, &base, &current).await {
            Attempt::Done(zxid) => Ok(Some(version(zxid))),
            Attempt::Again => {
                *doubt = None;
                Ok(None)
            }
            Attempt::Unknown(error) => {
                let refused = matches!(
                    error,
                    Error::NoAuth | Error::InvalidAcl | Error::QuotaExceeded | Error::BadArguments(_)
                );
                if refused {
                    *doubt = None;
                    return Err(self.refused(&error));
                }
                *doubt = Some(error);
                Ok(None)
            }
        }
    }

    async fn look(&self, client: &Client, app: &AppId) -> Result<(Stat, Current), Error> {
        // Each read begins where the last write of anybody ended.
        client.sync(&self.settings.base).await?;
        let base = client.check_stat(&self.settings.base).await?.ok_or(Error::NoNode)?;
        let read = async |name: String| {
            let node = match client.get_data(&self.settings.node(&name)).await {
                Ok(node) => Some(node),
                Err(Error::NoNode) => None,
                Err(error) => return Err(error),
            };
            Ok(Current { name, node })
        };
        let current = read(names::of(app)).await?;
        if current.node.is_some() {
            return Ok((base, current));
        }
        // An old Bamboo may have left the slash out.
        let without_slash = names::of(app).split_off("%2F".len());
        let old = read(without_slash).await?;
        Ok((base, if old.node.is_some() { old } else { current }))
    }

    async fn attempt(&self, client: &Client, change: &Change<'_>, base: &Stat, current: &Current) -> Attempt {
        let path = self.settings.node(&current.name);
        let mut writer = client.new_multi_writer();
        let added = (|| {
            writer.add_set_data(&self.settings.base, b"", Some(base.version))?;
            match (&change.payload, &current.node) {
                (Some(payload), Some((_, stat))) => writer.add_set_data(&path, payload, Some(stat.version)),
                (Some(payload), None) => {
                    writer.add_create(&path, payload, &self.settings.create(CreateMode::Persistent))
                }
                (None, Some((_, stat))) => writer.add_delete(&path, Some(stat.version)),
                (None, None) => Ok(()),
            }
        })();
        if let Err(error) = added {
            return Attempt::Unknown(error);
        }
        match writer.commit().await {
            Ok(results) => match results.first() {
                // All of a transaction has one number, and a created node's own may be missing (ZOOKEEPER-4667).
                Some(MultiWriteResult::SetData { stat }) => Attempt::Done(stat.mzxid),
                _ => Attempt::Unknown(Error::UnexpectedError("an answer of another kind".to_owned())),
            },
            Err(error) => match Error::from(error) {
                Error::BadVersion | Error::NodeExists | Error::NoNode => Attempt::Again,
                error => Attempt::Unknown(error),
            },
        }
    }

    /// An error of reading: the connection comes back, or a person has to do something.
    fn soft(&self, error: &Error) -> Result<(), StoreError> {
        match error {
            Error::NoAuth => Err(self.refused(error)),
            Error::NoNode => {
                self.set_trouble(&format!("{} is not there", self.settings.base));
                Err(self.unavailable("nothing was written"))
            }
            _ => Ok(()),
        }
    }

    fn refused(&self, error: &Error) -> StoreError {
        StoreError::Unavailable {
            message: format!(
                "ZooKeeper does not let us write under {} ({error}); nothing was written: check rules.zookeeper.user and \
                 the ACLs there",
                self.settings.base
            ),
        }
    }
}

fn unconfirmed(change: &Change<'_>, doubt: Option<&Error>) -> StoreError {
    let why = doubt.map(ToString::to_string).unwrap_or_default();
    StoreError::Unconfirmed {
        message: format!(
            "ZooKeeper went away while the rule of {} was written ({why}), and did not come back in time to be asked: it \
                 may be written or not; look at it before writing again",
            change.app
        ),
    }
}

fn conflict(change: &Change<'_>, current: Current) -> StoreError {
    let current = current.node.and_then(|(data, stat)| {
        let record = payload::decode(change.app, &data).ok()?;
        Some(Box::new(Versioned { rule: record.rule, version: version(stat.mzxid) }))
    });
    StoreError::Conflict { app: change.app.clone(), current }
}

/// The version where the node is as the change wanted it.
fn done(change: &Change<'_>, current: &Current) -> Option<RuleVersion> {
    match (&change.payload, &current.node) {
        (Some(payload), Some((data, stat))) if payload == data => Some(version(stat.mzxid)),
        (None, None) => Some(version(0)),
        _ => None,
    }
}
