//! What HAProxy says of the servers of one backend (`show stat <backend> 4 -1`, management guide 9.1), when somebody asks.

use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

/// One server.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
pub struct ServerFigures {
    /// Its name in HAProxy.
    #[serde(rename(deserialize = "svname"))]
    pub name: String,
    /// In HAProxy's words: `UP`, `DOWN`, `MAINT`, `DRAIN`, `no check` …
    pub status: String,
    /// Its weight.
    pub weight: Option<u64>,
    /// Sessions under way.
    #[serde(rename(deserialize = "scur"))]
    pub sessions: Option<u64>,
    /// Requests that wait for it.
    #[serde(rename(deserialize = "qcur"))]
    pub queued: Option<u64>,
    /// Sessions in all, since this worker of HAProxy started.
    #[serde(rename(deserialize = "stot"))]
    pub sessions_total: Option<u64>,
    /// Sessions a second.
    #[serde(rename(deserialize = "rate"))]
    pub sessions_per_second: Option<u64>,
    /// Connections to it that failed.
    #[serde(rename(deserialize = "econ"))]
    pub connection_errors: Option<u64>,
    /// Answers of it that failed.
    #[serde(rename(deserialize = "eresp"))]
    pub response_errors: Option<u64>,
    /// Answers 5xx; `null` for TCP.
    #[serde(rename(deserialize = "hrsp_5xx"))]
    pub responses_5xx: Option<u64>,
    /// Seconds since its status changed last.
    #[serde(rename(deserialize = "lastchg"))]
    pub since_seconds: Option<u64>,
    /// What HAProxy's own check came to, where it checks: `L7OK`, `L4CON` …
    #[serde(rename(deserialize = "check_status"))]
    pub check: Option<String>,
    /// The same in words.
    #[serde(rename(deserialize = "last_chk"))]
    pub check_words: Option<String>,
}

/// Reads the answer; a line that is no server's is left out.
#[must_use]
pub fn parse_servers(answer: &str) -> Vec<ServerFigures> {
    let table = answer.trim_start_matches("# ");
    csv::ReaderBuilder::new().flexible(true).from_reader(table.as_bytes()).deserialize().flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_read_by_the_names_of_their_columns() {
        // As 2.6.12 answers, cut off behind the columns that matter.
        let answer = "# pxname,svname,qcur,scur,stot,econ,eresp,status,weight,lastchg,rate,check_status,hrsp_5xx,last_chk,\n\
                      h_a_0,slot1,1,2,300,4,5,no check,1,77,6,,7,,\n\
                      h_a_0,slot2,0,0,0,0,0,DOWN,1,9,0,L4CON,,\"Connection refused, at once\",\n\n";
        let servers = parse_servers(answer);
        assert_eq!(servers.len(), 2, "{servers:?}");
        let first = &servers[0];
        assert_eq!(
            (first.name.as_str(), first.status.as_str(), first.weight),
            ("slot1", "no check", Some(1))
        );
        assert_eq!((first.sessions, first.queued, first.sessions_total), (Some(2), Some(1), Some(300)));
        assert_eq!(
            (first.connection_errors, first.response_errors, first.responses_5xx),
            (Some(4), Some(5), Some(7))
        );
        assert_eq!(
            (first.since_seconds, first.sessions_per_second, &first.check),
            (Some(77), Some(6), &None)
        );
        assert_eq!(servers[1].check_words.as_deref(), Some("Connection refused, at once"));
        assert!(parse_servers("No such proxy.\n").is_empty());
    }
}
