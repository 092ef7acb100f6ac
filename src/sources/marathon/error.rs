//! What can fail on the way to Marathon, a variant for each step.

use std::time::Duration;

use reqwest::Url;

/// A step towards Marathon that failed. The text names what failed, on what, and what happens now; it never holds
/// credentials or the query of a URL.
#[derive(Clone, Debug, thiserror::Error)]
#[non_exhaustive]
pub enum MarathonError {
    /// A file of the configuration cannot be used.
    #[error("marathon.{key}: {path}: {cause}; Marathon is not asked until it can be used")]
    File {
        /// The key of the configuration.
        key: &'static str,
        /// The file.
        path: String,
        /// What is wrong with it.
        cause: String,
    },
    /// A value of the configuration cannot be used.
    #[error("marathon.{key}: {cause}; Marathon cannot be asked")]
    Setting {
        /// The key of the configuration.
        key: &'static str,
        /// What is wrong with it.
        cause: String,
    },
    /// The login with a service account failed.
    #[error(
        "the login of the service account at {url} failed: {cause}; it is tried again with the next request"
    )]
    Login {
        /// Where the login went.
        url: String,
        /// Why it failed.
        cause: String,
    },
    /// No answer came.
    #[error("{url} does not answer: {cause}; the next endpoint is tried")]
    Connect {
        /// What was asked.
        url: String,
        /// Why there is no answer.
        cause: String,
    },
    /// An answer came that is not 200.
    #[error("{url} answered {status}{detail}; what was known before is kept")]
    Status {
        /// What was asked.
        url: String,
        /// The HTTP status.
        status: u16,
        /// Marathon's message or the title of the page, with a leading `: `; may be empty.
        detail: String,
    },
    /// A redirect leads where the credentials may not go.
    #[error(
        "{from} redirects to {to}, and credentials may not go there; it is not followed. \
         If that host is trusted, set marathon.{key}"
    )]
    RedirectRefused {
        /// What was asked.
        from: String,
        /// The scheme, host and port of the target.
        to: String,
        /// The key of the configuration that would allow it.
        key: &'static str,
    },
    /// Redirects lead nowhere.
    #[error("{url} redirects {cause}; the next endpoint is tried")]
    RedirectLoop {
        /// What was asked first.
        url: String,
        /// In which way the redirects are wrong.
        cause: String,
    },
    /// The body is not what Marathon writes.
    #[error("the answer of {url} cannot be used: {cause}; what was known before is kept")]
    Body {
        /// What was asked.
        url: String,
        /// What is wrong with it.
        cause: String,
    },
    /// The app does not exist: Marathon says so itself.
    #[error("{url}: Marathon knows no such app; it is removed")]
    NoSuchApp {
        /// What was asked.
        url: String,
    },
    /// The answer to the subscription is not an event stream.
    #[error("{url} is not an event stream but {content_type:?}; the next endpoint is tried")]
    NotEventStream {
        /// What was asked.
        url: String,
        /// What it says it is.
        content_type: String,
    },
    /// The event stream said nothing, not even its heartbeat.
    #[error("the event stream of {url} was silent for {silence:?}; it is opened again")]
    StreamSilent {
        /// The stream.
        url: String,
        /// For how long nothing came.
        silence: Duration,
    },
    /// 200, and the end: a Marathon that does not lead yet answers so.
    #[error(
        "{url} ended its event stream before the first event: the Marathon there does not lead; tried again"
    )]
    StreamNotReady {
        /// The stream.
        url: String,
    },
    /// The event stream broke off.
    #[error("the event stream of {url} ended: {cause}; it is opened again")]
    StreamEnded {
        /// The stream.
        url: String,
        /// How it ended.
        cause: String,
    },
}

impl MarathonError {
    /// Whether another endpoint may do better.
    pub(crate) fn rotates(&self) -> bool {
        match self {
            Self::Status { status, .. } => !matches!(status, 401 | 403 | 404),
            Self::Connect { .. }
            | Self::RedirectLoop { .. }
            | Self::RedirectRefused { .. }
            | Self::Body { .. }
            | Self::NotEventStream { .. }
            | Self::StreamSilent { .. }
            | Self::StreamNotReady { .. }
            | Self::StreamEnded { .. } => true,
            Self::File { .. } | Self::Setting { .. } | Self::Login { .. } | Self::NoSuchApp { .. } => false,
        }
    }
}

/// A URL as it may be shown: without credentials, query and fragment.
pub(crate) fn shown(url: &Url) -> String {
    format!("{}{}", url.origin().ascii_serialization(), url.path())
}

/// The causes of an error in one line; reqwest's own text holds the URL with its query.
pub(crate) fn causes(error: reqwest::Error) -> String {
    let error = error.without_url();
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        let line = cause.to_string();
        if !text.contains(&line) {
            text = format!("{text}: {line}");
        }
        source = cause.source();
    }
    text
}

/// What an error page says: the `message` of Marathon's JSON or the title of the HTML, at most 200 characters.
pub(crate) fn detail_of(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let message = serde_json::from_str::<serde_json::Value>(&text)
        .ok()
        .and_then(|json| json.get("message").and_then(|message| message.as_str()).map(str::to_owned));
    let said = message.or_else(|| title(&text)).unwrap_or_default();
    let said: String = said.split_whitespace().collect::<Vec<_>>().join(" ").chars().take(200).collect();
    if said.is_empty() { said } else { format!(": {said}") }
}

fn title(html: &str) -> Option<String> {
    let lower = html.to_ascii_lowercase();
    let start = lower.find("<title>")? + "<title>".len();
    let length = lower.get(start..)?.find("</title>")?;
    html.get(start..start + length).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_page_is_told_by_its_title_and_json_by_its_message() {
        let page = b"<html><head><TITLE>Error 405\n HTTP method</TITLE></head><body>x</body></html>";
        assert_eq!(detail_of(page), ": Error 405 HTTP method");
        assert_eq!(detail_of(br#"{"message":"App is locked","details":"x"}"#), ": App is locked");
        assert_eq!(detail_of(b"plain"), "");
        let long = format!("{{\"message\":\"{}\"}}", "x".repeat(900));
        assert_eq!(detail_of(long.as_bytes()).len(), 202);
    }

    #[test]
    fn a_url_is_shown_without_query_and_credentials() {
        let url = Url::parse("https://user:secret@m1:8443/v2/events?token=secret").unwrap();
        assert_eq!(shown(&url), "https://m1:8443/v2/events");
    }
}
