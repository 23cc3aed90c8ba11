//! The client of the administration: finds the server, asks it one thing, and
//! says what to do where there is none. It must not know what is asked.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use bytes::Bytes;
use clap::Args;
use http::header::{AUTHORIZATION, CONTENT_TYPE, HOST};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use tokio::net::{TcpStream, UnixStream};

use super::Failed;
use crate::admin::{self, Problem, is_private, usual_places};
use crate::config::{AdminSocket, Config, Overrides, UpstreamUrl, printable};

/// Time to connect.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(5);
/// Time until the head of the answer is there; a reload compiles plugins first.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(120);
/// Longest answer that is read as a whole.
const ANSWER_BYTES_MAX: usize = 64 << 20;
/// Longest line of an answer that comes line by line.
const LINE_BYTES_MAX: usize = 1 << 20;

/// Which server.
#[derive(Args, Clone, Debug, Default)]
pub(super) struct ServerArgs {
    /// The server's configuration, which says where its socket is
    #[arg(long, value_name = "FILE", conflicts_with_all = ["socket", "url"])]
    config: Option<PathBuf>,
    /// The server's socket; without it the usual places are tried
    #[arg(long, value_name = "PATH", conflicts_with = "url")]
    socket: Option<PathBuf>,
    /// The server's admin.address, as http://HOST:PORT
    #[arg(long, value_name = "URL", requires = "token_file")]
    url: Option<String>,
    /// File with the token for --url
    #[arg(long, value_name = "FILE", requires = "url")]
    token_file: Option<PathBuf>,
}

/// Where the server is.
enum Place {
    /// On these sockets, the first at which somebody listens.
    Sockets(Vec<PathBuf>),
    /// There, with this token.
    Tcp { url: UpstreamUrl, authorization: HeaderValue },
}

/// A connection that a request can be sent on.
type Sender = http1::SendRequest<Full<Bytes>>;

/// Asks a server.
pub(super) struct Client {
    runtime: tokio::runtime::Runtime,
    place: Place,
}

impl ServerArgs {
    /// A client of the server that is meant; nothing is sent yet.
    pub(super) fn client(&self) -> Result<Client, Failed> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("can't start")?;
        Ok(Client { runtime, place: self.place()? })
    }

    fn place(&self) -> Result<Place, Failed> {
        if let Some(path) = &self.socket {
            return Ok(Place::Sockets(vec![path.clone()]));
        }
        if let (Some(url), Some(token_file)) = (&self.url, &self.token_file) {
            return tcp(url, token_file);
        }
        let Some(file) = &self.config else { return Ok(Place::Sockets(usual_places())) };
        let admin = Config::load(Some(file), &Overrides::default())?.admin;
        match (admin.socket, admin.address, admin.token_file) {
            (AdminSocket::At(path), ..) => Ok(Place::Sockets(vec![path])),
            (AdminSocket::Usual, ..) => Ok(Place::Sockets(usual_places())),
            (AdminSocket::Off, Some(address), Some(token_file)) => tcp(&format!("http://{address}"), &token_file),
            (AdminSocket::Off, ..) => {
                let file = file.display();
                Err(Failed::Usage(format!(
                    "{file}: admin.socket is \"\" and there is no admin.address: nobody administers"
                )))
            }
        }
    }
}

fn tcp(url: &str, token_file: &Path) -> Result<Place, Failed> {
    let form = || Failed::Usage(format!("--url {}: expected http://HOST:PORT", printable(url)));
    let parsed = UpstreamUrl::parse(url).map_err(|_| form())?;
    let token = admin::read_token(token_file).map_err(|error| Failed::Usage(error.to_string()))?;
    let mut authorization = HeaderValue::from_str(&format!("Bearer {}", token.expose())).map_err(|_| {
        Failed::Usage(format!("{}: a token of printable ASCII characters is needed", token_file.display()))
    })?;
    authorization.set_sensitive(true);
    Ok(Place::Tcp { url: parsed, authorization })
}

impl Client {
    /// Asks for something.
    pub(super) fn get(&self, target: &str) -> Result<Value, Failed> {
        self.call(Method::GET, target, None::<&()>)
    }

    /// Asks for something that is text.
    pub(super) fn text(&self, target: &str) -> Result<String, Failed> {
        let request = self.request(Method::GET, target, None::<&()>)?;
        self.runtime.block_on(async {
            let bytes = whole(self.answer(request).await?).await?;
            Ok(String::from_utf8(bytes.into()).context("the server answers with something that isn't text")?)
        })
    }

    /// Asks for something to be done.
    pub(super) fn call(&self, method: Method, target: &str, body: Option<&impl Serialize>) -> Result<Value, Failed> {
        let request = self.request(method, target, body)?;
        self.runtime.block_on(async {
            let response = self.answer(request).await?;
            let bytes = whole(response).await?;
            Ok(serde_json::from_slice(&bytes).context("the server answers with something that isn't JSON")?)
        })
    }

    /// Asks for something that comes line by line, and has `each` look at every
    /// line as it comes, until it says that it has seen enough.
    pub(super) fn lines(
        &self,
        target: &str,
        mut each: impl FnMut(&[u8]) -> Result<bool, Failed>,
    ) -> Result<(), Failed> {
        let request = self.request(Method::GET, target, None::<&()>)?;
        self.runtime.block_on(async {
            let mut body = self.answer(request).await?.into_body();
            let mut rest: Vec<u8> = Vec::new();
            while let Some(frame) = body.frame().await {
                let frame = frame.context("the server broke off")?;
                let Some(data) = frame.data_ref() else { continue };
                rest.extend_from_slice(data);
                while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                    let line: Vec<u8> = rest.drain(..=end).collect();
                    if !each(&line[..end])? {
                        return Ok(());
                    }
                }
                if rest.len() > LINE_BYTES_MAX {
                    return Err(Failed::Machine(anyhow::anyhow!("a line of more than {LINE_BYTES_MAX} bytes")));
                }
            }
            Ok(())
        })
    }

    fn request(
        &self,
        method: Method,
        target: &str,
        body: Option<&impl Serialize>,
    ) -> Result<Request<Full<Bytes>>, Failed> {
        let mut request = Request::builder().method(method);
        match &self.place {
            Place::Sockets(_) => request = request.uri(target).header(HOST, "portcullis"),
            Place::Tcp { url, authorization } => {
                request = request.uri(format!("{}{target}", url.prefix())).header(HOST, url.authority());
                request = request.header(AUTHORIZATION, authorization);
            }
        }
        let bytes = match body {
            None => Bytes::new(),
            Some(body) => {
                request = request.header(CONTENT_TYPE, "application/json");
                serde_json::to_vec(body).context("can't be written as JSON")?.into()
            }
        };
        Ok(request.body(Full::new(bytes)).context("no request can be made of this")?)
    }

    /// The answer, if it isn't a problem.
    async fn answer(&self, request: Request<Full<Bytes>>) -> Result<Response<Incoming>, Failed> {
        let mut sender = self.connect().await?;
        let response = match tokio::time::timeout(ANSWER_TIME_MAX, sender.send_request(request)).await {
            Ok(response) => response.context("the server doesn't answer")?,
            Err(_) => {
                let seconds = ANSWER_TIME_MAX.as_secs();
                return Err(Failed::Machine(anyhow::anyhow!("the server hasn't answered within {seconds} s")));
            }
        };
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let bytes = whole(response).await?;
        let problem = serde_json::from_slice(&bytes).unwrap_or_else(|_| Problem::new(status));
        Err(failed(&problem))
    }

    async fn connect(&self) -> Result<Sender, Failed> {
        match &self.place {
            Place::Sockets(paths) => {
                let stream = socket(paths).await?;
                handshake(TokioIo::new(stream)).await
            }
            Place::Tcp { url, .. } => {
                let connecting = TcpStream::connect((url.host(), url.port()));
                let connected = tokio::time::timeout(CONNECT_TIME_MAX, connecting).await;
                let stream = connected
                    .unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
                    .map_err(|error| Failed::No(format!("no server at {}: {error}", url.authority())))?;
                handshake(TokioIo::new(stream)).await
            }
        }
    }
}

async fn handshake<S>(stream: TokioIo<S>) -> Result<Sender, Failed>
where
    TokioIo<S>: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(stream).await.context("the server doesn't speak HTTP")?;
    // How it ends shows in the answer.
    tokio::spawn(async { drop(connection.await) });
    Ok(sender)
}

/// The first of these at which somebody listens.
async fn socket(paths: &[PathBuf]) -> Result<UnixStream, Failed> {
    let mut tried = Vec::new();
    for path in paths {
        let folder = path.parent().unwrap_or(Path::new("/"));
        // Where all users may write, anyone could wait for us.
        if folder.starts_with(std::env::temp_dir()) && paths.len() > 1 && folder.exists() && !is_private(folder) {
            tried.push(format!("  {}: its folder doesn't belong to you alone", path.display()));
            continue;
        }
        match UnixStream::connect(path).await {
            Ok(stream) => return Ok(stream),
            Err(error) => tried.push(format!("  {}: {}", path.display(), explained(&error))),
        }
    }
    let advice = "Is it running, and as the same user (or are you root)? --socket PATH, --config FILE or --url URL \
                  --token-file FILE say where it is.";
    Err(Failed::No(format!("no server answers at\n{}\n{advice}", tried.join("\n"))))
}

fn explained(error: &io::Error) -> String {
    let known = [
        (io::ErrorKind::NotFound, "there is no socket"),
        (io::ErrorKind::ConnectionRefused, "nobody listens on this socket"),
        (io::ErrorKind::PermissionDenied, "only the server's user may open this socket"),
    ];
    let known = known.iter().find(|(kind, _)| *kind == error.kind());
    known.map_or_else(|| error.to_string(), |(_, words)| (*words).to_owned())
}

async fn whole(response: Response<Incoming>) -> Result<Bytes, Failed> {
    let collected = Limited::new(response.into_body(), ANSWER_BYTES_MAX).collect().await;
    let collected = collected.map_err(|error| anyhow::anyhow!("the server's answer broke off: {error}"))?;
    Ok(collected.to_bytes())
}

/// What the server says, for eyes.
fn failed(problem: &Problem) -> Failed {
    let mut text = problem.detail.clone().unwrap_or_else(|| match problem.status {
        401 => "the server doesn't take this token".to_owned(),
        423 => "this address is banned there".to_owned(),
        429 => "too many wrong tokens from this address".to_owned(),
        _ => format!("the server answers {} {}", problem.status, problem.title),
    });
    if let Some(seconds) = problem.retry_after_seconds {
        text.push_str(&format!("; try again in {seconds} s"));
    }
    for error in &problem.errors {
        text.push('\n');
        text.push_str(error);
    }
    if problem.status == StatusCode::BAD_REQUEST.as_u16() { Failed::Usage(text) } else { Failed::No(text) }
}

/// What the server said, in the types that it says it in.
pub(super) fn read<T: DeserializeOwned>(value: &Value) -> Result<T, Failed> {
    T::deserialize(value).map_err(|error| {
        Failed::Machine(anyhow::anyhow!("the server is of another version, and says what isn't known here: {error}"))
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_problem_is_told_in_its_own_words_and_with_its_exit_code() {
        let problem = Problem::conflict("held by 203.0.113.0/24").errors(vec!["one".to_owned()]);
        assert_eq!(failed(&problem).to_string(), "held by 203.0.113.0/24\none");
        assert!(matches!(failed(&problem), Failed::No(_)));
        assert!(matches!(failed(&Problem::bad_request("no")), Failed::Usage(_)));
        let waiting = Problem::new(StatusCode::TOO_MANY_REQUESTS).retry_after(2);
        assert_eq!(failed(&waiting).to_string(), "too many wrong tokens from this address; try again in 2 s");
    }

    #[test]
    fn a_file_is_no_socket_at_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("admin.sock");
        fs::write(&path, "").unwrap();
        let args = ServerArgs { socket: Some(path), ..ServerArgs::default() };
        let said = args.client().unwrap().get("/v1/status").unwrap_err().to_string();
        assert!(said.contains("admin.sock") && said.contains("--socket PATH"), "{said}");
    }
}
