//! Who one is for Marathon: basic authentication, a token, or a DC/OS service account.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::prelude::{BASE64_STANDARD, BASE64_URL_SAFE_NO_PAD};
use reqwest::header::{HeaderValue, SET_COOKIE};
use reqwest::{Client, Response, Url};
use secrecy::{ExposeSecret as _, SecretString};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

use super::error::{MarathonError, causes, detail_of, shown};
use crate::config::{MarathonConfig, TokenScheme};

const COOKIE: &str = "dcos-acs-auth-cookie=";
/// How long the signed login request itself is good for.
const LOGIN_VALID: u64 = 60;
/// How long the token that is asked for shall be good.
const TOKEN_VALID: u64 = 3600;
/// How long before its end a token is renewed.
const MARGIN: u64 = 60;
/// A login answer holds a token and little else.
const LOGIN_BODY: usize = 64 * 1024;

/// The credentials of the configuration. They appear in no Debug text.
pub(crate) struct Auth {
    kind: Kind,
    /// The header last made, and when it has to be made anew (seconds since 1970).
    current: Mutex<Option<(HeaderValue, Option<u64>)>>,
}

enum Kind {
    None,
    Basic { user: String, password: Secret },
    Token { scheme: TokenScheme, token: Secret },
    ServiceAccount { file: PathBuf },
}

/// A secret from the environment, or in a file that is read again when Marathon refuses it.
enum Secret {
    Value(SecretString),
    File { key: &'static str, path: PathBuf },
}

impl Secret {
    fn of(key: &'static str, value: &Option<SecretString>, file: &Option<PathBuf>) -> Option<Self> {
        let value = value.clone().map(Self::Value);
        value.or_else(|| file.clone().map(|path| Self::File { key, path }))
    }

    fn read(&self) -> Result<SecretString, MarathonError> {
        match self {
            Self::Value(value) => Ok(value.clone()),
            Self::File { key, path } => {
                let text = SecretString::from(read_file(key, path)?);
                let trimmed = SecretString::from(text.expose_secret().trim());
                if trimmed.expose_secret().is_empty() {
                    return Err(file_error(key, path, "it is empty"));
                }
                Ok(trimmed)
            }
        }
    }
}

#[derive(Deserialize)]
struct ServiceAccount {
    uid: String,
    #[serde(deserialize_with = "secret")]
    private_key: SecretString,
    login_endpoint: String,
    #[serde(default = "rs256")]
    scheme: String,
}

fn secret<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<SecretString, D::Error> {
    String::deserialize(deserializer).map(SecretString::from)
}

fn rs256() -> String {
    "RS256".to_owned()
}

#[derive(Serialize)]
struct LoginClaims<'a> {
    uid: &'a str,
    exp: u64,
}

#[derive(Serialize)]
struct LoginRequest<'a> {
    uid: &'a str,
    token: String,
    exp: u64,
}

impl Auth {
    /// Takes the credentials and reads their files once, so that a wrong one is told at the start.
    pub(crate) fn new(config: &MarathonConfig) -> Result<Self, MarathonError> {
        let kind = if let Some(user) = &config.user {
            let password = Secret::of("password_file", &config.password, &config.password_file).ok_or(
                MarathonError::Setting {
                    key: "password_file",
                    cause: "user is set, a password is not".into(),
                },
            )?;
            Kind::Basic { user: user.clone(), password }
        } else if let Some(token) = Secret::of("token_file", &config.token, &config.token_file) {
            Kind::Token { scheme: config.token_scheme, token }
        } else if let Some(file) = &config.service_account_file {
            ServiceAccount::load(file)?.key(file)?;
            Kind::ServiceAccount { file: file.clone() }
        } else {
            Kind::None
        };
        let auth = Self { kind, current: Mutex::new(None) };
        let made = auth.secret_header()?;
        Ok(Self { current: Mutex::new(made.map(|header| (header, None))), ..auth })
    }

    /// Whether there are credentials that a redirect could give away.
    pub(crate) fn is_some(&self) -> bool {
        !matches!(self.kind, Kind::None)
    }

    /// The value of `Authorization`; logs in where that is needed.
    pub(crate) async fn header(&self, client: &Client) -> Result<Option<HeaderValue>, MarathonError> {
        let Kind::ServiceAccount { file } = &self.kind else {
            return Ok(self.current.lock().await.as_ref().map(|(header, _)| header.clone()));
        };
        let mut current = self.current.lock().await;
        if let Some((header, renew_at)) = &*current
            && renew_at.is_none_or(|at| now() < at)
        {
            return Ok(Some(header.clone()));
        }
        // A token that could not be renewed is not sent: it would fail later and tell nothing of the cause.
        *current = None;
        let (header, renew_at) = login(file, client).await?;
        *current = Some((header.clone(), Some(renew_at)));
        Ok(Some(header))
    }

    /// Makes the header anew after a 401. `None`: there is nothing newer to try.
    pub(crate) async fn renew(
        &self,
        refused: &HeaderValue,
        client: &Client,
    ) -> Result<Option<HeaderValue>, MarathonError> {
        let mut current = self.current.lock().await;
        if let Some((header, _)) = &*current
            && header != refused
        {
            return Ok(Some(header.clone()));
        }
        let made = if let Kind::ServiceAccount { file } = &self.kind {
            *current = None;
            let (header, renew_at) = login(file, client).await?;
            Some((header, Some(renew_at)))
        } else {
            self.secret_header()?.map(|header| (header, None))
        };
        current.clone_from(&made);
        Ok(made.map(|(header, _)| header).filter(|header| header != refused))
    }

    fn secret_header(&self) -> Result<Option<HeaderValue>, MarathonError> {
        match &self.kind {
            Kind::None | Kind::ServiceAccount { .. } => Ok(None),
            Kind::Basic { user, password } => {
                let password = password.read()?;
                let pair = BASE64_STANDARD.encode(format!("{user}:{}", password.expose_secret()));
                header("password_file", &format!("Basic {pair}")).map(Some)
            }
            Kind::Token { scheme, token } => {
                let token = token.read()?;
                let prefix = match scheme {
                    TokenScheme::Bearer => "Bearer ",
                    TokenScheme::Token => "token=",
                };
                header("token_file", &format!("{prefix}{}", token.expose_secret())).map(Some)
            }
        }
    }
}

impl ServiceAccount {
    fn load(file: &Path) -> Result<Self, MarathonError> {
        let text = SecretString::from(read_file("service_account_file", file)?);
        // The parser's own message could quote the file.
        let wanted = "it is no JSON with uid, private_key and login_endpoint";
        let account: Self = serde_json::from_str(text.expose_secret())
            .map_err(|_| file_error("service_account_file", file, wanted))?;
        if account.scheme != "RS256" {
            let cause = format!("its scheme is {:?}; only RS256 is known", account.scheme);
            return Err(file_error("service_account_file", file, &cause));
        }
        Ok(account)
    }

    fn key(&self, file: &Path) -> Result<jsonwebtoken::EncodingKey, MarathonError> {
        jsonwebtoken::EncodingKey::from_rsa_pem(self.private_key.expose_secret().as_bytes())
            .map_err(|_| file_error("service_account_file", file, "its private_key is no RSA key in PEM"))
    }
}

/// Logs in and gives the header with the time when it has to be renewed.
async fn login(file: &Path, client: &Client) -> Result<(HeaderValue, u64), MarathonError> {
    let account = ServiceAccount::load(file)?;
    let url = Url::parse(&account.login_endpoint).map_err(|error| {
        file_error("service_account_file", file, &format!("its login_endpoint is no URL: {error}"))
    })?;
    let failed = |cause: String| MarathonError::Login { url: shown(&url), cause };
    let claims = LoginClaims { uid: &account.uid, exp: now() + LOGIN_VALID };
    let header_of = jsonwebtoken::Header::new(jsonwebtoken::Algorithm::RS256);
    let signed = jsonwebtoken::encode(&header_of, &claims, &account.key(file)?)
        .map_err(|error| failed(format!("the request cannot be signed: {error}")))?;
    let asked_until = now() + TOKEN_VALID;
    let request = LoginRequest { uid: &account.uid, token: signed, exp: asked_until };
    let response = client
        .post(url.clone())
        .json(&request)
        .timeout(Duration::from_secs(30))
        .send()
        .await
        .map_err(|error| failed(causes(error)))?;
    let status = response.status();
    let cookie = cookie_of(&response);
    let body = body_of(response).await.map_err(|error| failed(causes(error)))?;
    if !status.is_success() {
        return Err(failed(format!("it answered {}{}", status.as_u16(), detail_of(&body))));
    }
    let token = token_of(&body).or(cookie).ok_or_else(|| failed("the answer holds no token".to_owned()))?;
    let until = expiry_of(token.expose_secret()).unwrap_or(asked_until);
    let margin = MARGIN.min(until.saturating_sub(now()) / 2);
    let header = header("service_account_file", &format!("token={}", token.expose_secret()))
        .map_err(|_| failed("the token has characters that no header takes".to_owned()))?;
    Ok((header, until.saturating_sub(margin)))
}

async fn body_of(mut response: Response) -> Result<Vec<u8>, reqwest::Error> {
    let mut body = Vec::new();
    while body.len() < LOGIN_BODY
        && let Some(chunk) = response.chunk().await?
    {
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

fn token_of(body: &[u8]) -> Option<SecretString> {
    #[derive(Deserialize)]
    struct Answer {
        #[serde(deserialize_with = "secret")]
        token: SecretString,
    }
    serde_json::from_slice::<Answer>(body).ok().map(|answer| answer.token)
}

fn cookie_of(response: &Response) -> Option<SecretString> {
    let cookies = response.headers().get_all(SET_COOKIE);
    let mut values = cookies.iter().filter_map(|cookie| cookie.to_str().ok()?.strip_prefix(COOKIE));
    let value = values.next()?.split(';').next()?.trim().trim_matches('"');
    (!value.is_empty()).then(|| value.into())
}

/// The `exp` of a JWT, in seconds since 1970.
fn expiry_of(token: &str) -> Option<u64> {
    #[derive(Deserialize)]
    struct Claims {
        exp: u64,
    }
    let payload = BASE64_URL_SAFE_NO_PAD.decode(token.split('.').nth(1)?.trim_end_matches('=')).ok()?;
    serde_json::from_slice::<Claims>(&payload).ok().map(|claims| claims.exp)
}

fn header(key: &'static str, value: &str) -> Result<HeaderValue, MarathonError> {
    let mut header = HeaderValue::from_str(value).map_err(|_| MarathonError::Setting {
        key,
        cause: "the secret has characters that no header takes".to_owned(),
    })?;
    header.set_sensitive(true);
    Ok(header)
}

pub(crate) fn read_file(key: &'static str, path: &Path) -> Result<String, MarathonError> {
    std::fs::read_to_string(path).map_err(|error| file_error(key, path, &error.to_string()))
}

pub(crate) fn file_error(key: &'static str, path: &Path, cause: &str) -> MarathonError {
    MarathonError::File { key, path: path.display().to_string(), cause: cause.to_owned() }
}

fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_of_a_token_is_read_from_its_claims() {
        let payload = BASE64_URL_SAFE_NO_PAD.encode(br#"{"uid":"x","exp":1700000000}"#);
        assert_eq!(expiry_of(&format!("h.{payload}.s")), Some(1_700_000_000));
        assert_eq!(expiry_of("opaque"), None);
    }

    #[tokio::test]
    async fn each_scheme_is_sent_as_its_server_wants_it() {
        let header = async |config: MarathonConfig| {
            let auth = Auth::new(&config).unwrap();
            let header = auth.header(&Client::new()).await.unwrap();
            header.map(|header| header.to_str().unwrap().to_owned())
        };
        let token = || Some("t0k".into());
        assert_eq!(header(MarathonConfig::default()).await, None);
        let bearer = MarathonConfig { token: token(), ..Default::default() };
        assert_eq!(header(bearer).await.as_deref(), Some("Bearer t0k"));
        let dcos = MarathonConfig { token: token(), token_scheme: TokenScheme::Token, ..Default::default() };
        assert_eq!(header(dcos).await.as_deref(), Some("token=t0k"));
        let basic =
            MarathonConfig { user: Some("u".into()), password: Some("p:w".into()), ..Default::default() };
        assert_eq!(header(basic).await.as_deref(), Some("Basic dTpwOnc="));
    }
}
