//! One cluster of Marathons over HTTP: which endpoint is asked, where redirects may lead, who one is.

use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use reqwest::header::{ACCEPT, AUTHORIZATION, CACHE_CONTROL, HeaderValue, LOCATION};
use reqwest::{Certificate, Client, ClientBuilder, Identity, Response, Url};

use super::auth::{Auth, file_error, read_file};
use super::error::{MarathonError, causes, detail_of, shown};
use super::status::Reporter;
use crate::config::MarathonConfig;
use crate::telemetry::Metrics;

const MAX_REDIRECTS: usize = 3;
/// As much of an error page as is read to find its title.
const ERROR_PAGE: usize = 16 * 1024;

pub(crate) struct Http {
    rest: Client,
    stream: Client,
    endpoints: Vec<Url>,
    /// The endpoint that worked last, or that is tried next.
    preferred: AtomicUsize,
    auth: Auth,
    redirect_hosts: Vec<String>,
    redirect_to_http: bool,
    read_timeout: Duration,
    reporter: Reporter,
}

/// What is asked for: a document, the event stream, a registration.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    Json,
    /// `Accept` has to be `text/event-stream` and nothing else: Marathon answers 405 to a list.
    EventStream,
    /// Our callback, to be written down there.
    Registration,
}

/// An answer, and where it came from.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) response: Response,
    pub(crate) url: Url,
}

impl Http {
    pub(crate) fn new(config: &MarathonConfig, reporter: Reporter) -> Result<Self, MarathonError> {
        let endpoints = config.endpoints.iter().map(|endpoint| endpoint_of(endpoint));
        let endpoints: Vec<Url> = endpoints.collect::<Result<_, _>>()?;
        if endpoints.is_empty() {
            let cause = "at least one URL is needed".to_owned();
            return Err(MarathonError::Setting { key: "endpoints", cause });
        }
        let build = |builder: ClientBuilder| {
            let unusable = |error| MarathonError::Setting { key: "ca_file", cause: causes(error) };
            builder.build().map_err(unusable)
        };
        Ok(Self {
            rest: build(client(config)?.read_timeout(config.read_timeout))?,
            stream: build(client(config)?.no_gzip())?,
            endpoints,
            preferred: AtomicUsize::new(0),
            auth: Auth::new(config)?,
            redirect_hosts: config.redirect_hosts.clone(),
            redirect_to_http: config.redirect_to_http,
            read_timeout: config.read_timeout,
            reporter,
        })
    }

    pub(crate) fn metrics(&self) -> &Metrics {
        &self.reporter.metrics
    }

    pub(crate) fn endpoint_count(&self) -> usize {
        self.endpoints.len()
    }

    /// The endpoint to ask, by its place in the list.
    pub(crate) fn preferred(&self) -> usize {
        self.preferred.load(Ordering::Relaxed) % self.endpoints.len()
    }

    pub(crate) fn endpoint(&self, index: usize) -> &Url {
        &self.endpoints[index % self.endpoints.len()]
    }

    /// Turns to the next endpoint, unless another request already did.
    pub(crate) fn rotate(&self, from: usize) {
        let next = (from + 1) % self.endpoints.len();
        let _ = self.preferred.compare_exchange(from, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    /// The URL of a path below an endpoint; each segment is percent-encoded on its own.
    pub(crate) fn url<'a>(&self, index: usize, segments: impl IntoIterator<Item = &'a str>) -> Url {
        let mut url = self.endpoint(index).clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(segments);
        }
        url
    }

    /// Asks for a URL: logs in, follows redirects, and renews the credentials once when they are refused.
    pub(crate) async fn get(&self, url: Url, wanted: Wanted) -> Result<Answer, MarathonError> {
        let header = self.auth.header(&self.rest).await?;
        let answer = self.follow(url.clone(), wanted, header.as_ref()).await?;
        let Some(refused) = header.filter(|_| answer.response.status() == 401) else { return Ok(answer) };
        match self.auth.renew(&refused, &self.rest).await? {
            Some(renewed) => self.follow(url, wanted, Some(&renewed)).await,
            None => Ok(answer),
        }
    }

    async fn follow(
        &self,
        first: Url,
        wanted: Wanted,
        authorization: Option<&HeaderValue>,
    ) -> Result<Answer, MarathonError> {
        let mut url = first.clone();
        let mut seen = vec![url.clone()];
        let wrong = |cause: &str| MarathonError::RedirectLoop { url: shown(&first), cause: cause.to_owned() };
        loop {
            let response = self.send(&url, wanted, authorization).await?;
            if let Some(leader) = response.headers().get("x-marathon-leader").and_then(|it| it.to_str().ok())
            {
                self.note_leader(leader);
            }
            if !matches!(response.status().as_u16(), 301 | 302 | 307 | 308) {
                return Ok(Answer { response, url });
            }
            let location = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
            let target = location
                .and_then(|location| url.join(location).ok())
                .filter(|target| matches!(target.scheme(), "http" | "https") && target.has_host())
                .ok_or_else(|| wrong("without saying where to"))?;
            self.may_follow(&url, &target)?;
            if seen.contains(&target) {
                return Err(wrong("in a circle"));
            }
            if seen.len() > MAX_REDIRECTS {
                return Err(wrong("more than three times"));
            }
            seen.push(target.clone());
            url = target;
        }
    }

    async fn send(
        &self,
        url: &Url,
        wanted: Wanted,
        authorization: Option<&HeaderValue>,
    ) -> Result<Response, MarathonError> {
        let request = match wanted {
            Wanted::Json => self.rest.get(url.clone()).header(ACCEPT, "application/json"),
            Wanted::Registration => self.rest.post(url.clone()).header(ACCEPT, "application/json").body(""),
            Wanted::EventStream => {
                let request = self.stream.get(url.clone()).header(ACCEPT, "text/event-stream");
                request.header(CACHE_CONTROL, "no-cache")
            }
        };
        let request =
            authorization.iter().fold(request, |request, value| request.header(AUTHORIZATION, *value));
        let failed = |cause: String| MarathonError::Connect { url: shown(url), cause };
        match tokio::time::timeout(self.read_timeout, request.send()).await {
            Ok(sent) => sent.map_err(|error| failed(causes(error))),
            Err(_) => Err(failed(format!("no answer within {:?}", self.read_timeout))),
        }
    }

    /// Credentials go to the hosts of the endpoints and to those of `redirect_hosts`, and never from https to http
    /// unless the configuration allows it. Without credentials a redirect leads anywhere.
    fn may_follow(&self, from: &Url, to: &Url) -> Result<(), MarathonError> {
        if !self.auth.is_some() {
            return Ok(());
        }
        let refused = |key| {
            let to = to.origin().ascii_serialization();
            Err(MarathonError::RedirectRefused { from: shown(from), to, key })
        };
        if from.scheme() == "https" && to.scheme() == "http" && !self.redirect_to_http {
            return refused("redirect_to_http");
        }
        let host = to.host_str().unwrap_or_default();
        let with_port = format!("{host}:{}", to.port_or_known_default().unwrap_or_default());
        let listed =
            |allowed: &String| allowed.eq_ignore_ascii_case(host) || allowed.eq_ignore_ascii_case(&with_port);
        let own = self.endpoints.iter().any(|endpoint| endpoint.host_str() == Some(host));
        if own || self.redirect_hosts.iter().any(listed) { Ok(()) } else { refused("redirect_hosts") }
    }

    fn note_leader(&self, leader: &str) {
        self.reporter.change_if(|status| {
            let news = status.leader.as_deref() != Some(leader);
            if news {
                status.leader = Some(leader.to_owned());
            }
            news
        });
    }
}

impl Answer {
    /// The answer, if it is 200; the error tells what the page says.
    pub(crate) async fn success(self) -> Result<Self, MarathonError> {
        if self.response.status() == 200 { Ok(self) } else { Err(self.failure().await) }
    }

    pub(crate) async fn failure(self) -> MarathonError {
        let status = self.response.status().as_u16();
        let (url, page) = self.page().await;
        MarathonError::Status { url, status, detail: detail_of(&page) }
    }

    /// The beginning of the body; an error page that breaks off has said enough.
    pub(crate) async fn page(self) -> (String, Vec<u8>) {
        let Self { mut response, url } = self;
        let mut page = Vec::new();
        let reading = async {
            while page.len() < ERROR_PAGE
                && let Ok(Some(chunk)) = response.chunk().await
            {
                page.extend_from_slice(&chunk);
            }
        };
        let _ = tokio::time::timeout(Duration::from_secs(5), reading).await;
        (shown(&url), page)
    }
}

fn endpoint_of(endpoint: &str) -> Result<Url, MarathonError> {
    let wrong = |cause: String| MarathonError::Setting { key: "endpoints", cause };
    let mut url = Url::parse(endpoint).map_err(|error| wrong(format!("{endpoint:?}: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || !url.has_host() {
        return Err(wrong(format!("{:?} is not an http or https URL", shown(&url))));
    }
    url.set_query(None);
    url.set_fragment(None);
    Ok(url)
}

fn client(config: &MarathonConfig) -> Result<ClientBuilder, MarathonError> {
    let mut builder = Client::builder()
        .user_agent(concat!("causeway/", env!("CARGO_PKG_VERSION")))
        .redirect(reqwest::redirect::Policy::none())
        .no_proxy()
        // Marathon closes idle connections after 30 s.
        .pool_idle_timeout(Duration::from_secs(20))
        .tcp_nodelay(true)
        .tcp_keepalive(Duration::from_secs(30))
        .connect_timeout(config.connect_timeout);
    if let Some(path) = &config.ca_file {
        let pem = read_file("ca_file", path)?;
        let no_pem = |error| file_error("ca_file", path, &causes(error));
        let certificates = Certificate::from_pem_bundle(pem.as_bytes()).map_err(no_pem)?;
        if certificates.is_empty() {
            return Err(file_error("ca_file", path, "it holds no certificate"));
        }
        builder = builder.tls_certs_only(certificates);
    }
    if let (Some(certificate), Some(key)) = (&config.client_certificate_file, &config.client_key_file) {
        builder = builder.identity(identity(certificate, key)?);
    }
    Ok(builder)
}

fn identity(certificate: &Path, key: &Path) -> Result<Identity, MarathonError> {
    let pem = read_file("client_certificate_file", certificate)?;
    let pem = format!("{pem}\n{}", read_file("client_key_file", key)?);
    // The text of the error is of no use to a person, and the PEM holds the key.
    Identity::from_pem(pem.as_bytes()).map_err(|_| {
        let cause = "it is no certificate in PEM, or client_key_file is no key in PEM";
        file_error("client_certificate_file", certificate, cause)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn follows(cfg: &MarathonConfig, from: &str, to: &str) -> Result<(), String> {
        let http = Http::new(cfg, Reporter::new(Metrics::default())).unwrap();
        let url = |text| Url::parse(text).unwrap();
        http.may_follow(&url(from), &url(to)).map_err(|error| error.to_string())
    }

    fn cfg() -> MarathonConfig {
        MarathonConfig {
            endpoints: vec!["https://m1:8443".to_owned(), "https://m2:8443/marathon".to_owned()],
            redirect_hosts: vec!["m3".to_owned(), "m4:8443".to_owned()],
            token: Some("geheim".into()),
            ..MarathonConfig::default()
        }
    }

    #[test]
    fn credentials_follow_to_endpoints_and_listed_hosts_only() {
        let from = "https://m1:8443/v2/events";
        for good in ["https://m2:8080/v2/events", "https://m3/v2/events", "https://m4:8443/v2/events"] {
            assert_eq!(follows(&cfg(), from, good), Ok(()));
        }
        for bad in ["https://m4/v2/events", "https://m1.evil/v2/events", "https://m1@evil:8443/"] {
            assert!(follows(&cfg(), from, bad).unwrap_err().contains("marathon.redirect_hosts"), "{bad}");
        }
        let anybody = MarathonConfig { token: None, ..cfg() };
        assert_eq!(follows(&anybody, from, "http://elsewhere/v2/events"), Ok(()));
    }

    #[test]
    fn credentials_go_from_https_to_http_only_where_that_is_allowed() {
        let (from, to) = ("https://m1:8443/v2/events", "http://m2:8080/v2/events");
        let error = follows(&cfg(), from, to).unwrap_err();
        assert!(error.contains("marathon.redirect_to_http") && error.contains("http://m2:8080"), "{error}");
        let allowed = MarathonConfig { redirect_to_http: true, ..cfg() };
        assert_eq!(follows(&allowed, from, to), Ok(()));
    }

    #[test]
    fn each_segment_of_a_path_is_encoded_on_its_own_below_the_endpoints_prefix() {
        let http = Http::new(&cfg(), Reporter::new(Metrics::default())).unwrap();
        let url = http.url(1, ["v2", "apps", "a b", "c?d#e%2F"]);
        assert_eq!(url.as_str(), "https://m2:8443/marathon/v2/apps/a%20b/c%3Fd%23e%252F");
    }
}
