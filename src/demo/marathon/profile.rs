//! Which Marathon version the wire forms follow.

use std::fmt;
use std::str::FromStr;

/// A Marathon version whose wire forms the stand-in speaks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Profile {
    /// 0.11: `ports`, no task state, no instances.
    V0_11,
    /// 1.4: `docker.portMappings`, `portDefinitions`, instances, events that carry whole plans.
    V1_4,
    /// 1.8: `networks`, `container.portMappings`, light plans, slow readers are cut off.
    V1_8,
    /// 1.11: as 1.8, with roles.
    #[default]
    V1_11,
}

/// The name of a profile was none of 0.11, 1.4, 1.8 and 1.11.
#[derive(Debug, thiserror::Error)]
#[error("unknown Marathon profile {0:?}: one of 0.11, 1.4, 1.8, 1.11")]
pub struct UnknownProfile(String);

impl Profile {
    /// Instances, TASK_KILLING, unreachable tasks and `Marathon-Deployment-Id` came with 1.4.
    pub(super) fn has_instances(self) -> bool {
        self >= Self::V1_4
    }

    /// `networks` and `container.portMappings` replaced the Docker forms in 1.5.
    pub(super) fn has_networks(self) -> bool {
        self >= Self::V1_8
    }

    /// Outstanding events per stream (`--event_stream_max_outstanding_messages`).
    pub(super) fn stream_capacity(self) -> usize {
        if self.has_networks() { 1024 } else { 50 }
    }

    /// From 1.8 a reader that falls behind is cut off; before, events were silently dropped.
    pub(super) fn closes_slow_readers(self) -> bool {
        self >= Self::V1_8
    }

    /// Until 1.7 deployment events carried the whole root group twice.
    pub(super) fn has_heavy_plans(self) -> bool {
        self < Self::V1_8
    }

    /// Versions kept per app (`--zk_max_versions`).
    pub(super) fn versions_kept(self) -> usize {
        if self.has_instances() { 50 } else { 25 }
    }

    /// The version `/v2/info` shows.
    pub(super) fn release(self) -> &'static str {
        match self {
            Self::V0_11 => "0.11.1",
            Self::V1_4 => "1.4.9",
            Self::V1_8 => "1.8.222",
            Self::V1_11 => "1.11.24",
        }
    }

    /// An instance's id; before 1.4 there was none on the wire.
    pub(super) fn instance_id(self, app: &str, uuid: &str) -> String {
        let word = if self >= Self::V1_8 { "instance" } else { "marathon" };
        format!("{}.{word}-{uuid}", path_as_name(app))
    }

    /// A task's id; from 1.8 it names the instance and its incarnation.
    pub(super) fn task_id(self, app: &str, uuid: &str, incarnation: u32) -> String {
        if self >= Self::V1_8 {
            format!("{}._app.{incarnation}", self.instance_id(app, uuid))
        } else {
            format!("{}.{uuid}", path_as_name(app))
        }
    }
}

fn path_as_name(app: &str) -> String {
    app.trim_start_matches('/').replace('/', "_")
}

impl fmt::Display for Profile {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::V0_11 => "0.11",
            Self::V1_4 => "1.4",
            Self::V1_8 => "1.8",
            Self::V1_11 => "1.11",
        })
    }
}

impl FromStr for Profile {
    type Err = UnknownProfile;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        [Self::V0_11, Self::V1_4, Self::V1_8, Self::V1_11]
            .into_iter()
            .find(|profile| profile.to_string() == text)
            .ok_or_else(|| UnknownProfile(text.to_owned()))
    }
}
