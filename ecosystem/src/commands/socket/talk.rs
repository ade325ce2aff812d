//! One connection of `rookery socket`, from the handshake to the goodbye.

use super::closes;
use super::input::Input;
use super::speech::{Speech, Went};
use crate::say;
use anyhow::{Context, Result, anyhow, bail};
use futures_util::{SinkExt, StreamExt};
use shared::domain::COMMAND_DEADLINE;
use std::io::IsTerminal;
use std::time::{Duration, Instant};
use tokio::net::TcpStream;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_tungstenite::tungstenite::protocol::{CloseFrame, frame::coding::CloseCode};
use tokio_tungstenite::tungstenite::{ClientRequestBuilder, Error, Message, Utf8Bytes};
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

const SUBPROTOCOL: &str = "rookery.v1";
const HANDSHAKE: Duration = Duration::from_secs(10);
/// After the input has ended: the server answers within its own deadline, or says that it cannot.
const LAST_ANSWERS: Duration = COMMAND_DEADLINE.saturating_add(Duration::from_secs(5));
const GOODBYE: Duration = Duration::from_secs(2);

type Socket = WebSocketStream<MaybeTlsStream<TcpStream>>;
type Frame = Option<Result<Message, Error>>;

/// Until the input has ended and everything is answered, or a signal comes. True when nothing was refused.
pub async fn run(url: &str, token: Option<&str>, all: bool) -> Result<bool> {
    let mut socket = connect(url).await?;
    let (mut speech, mut input) = (Speech::default(), Input::start());
    let (mut interrupt, mut terminate) = (listen(SignalKind::interrupt())?, listen(SignalKind::terminate())?);
    match token {
        Some(token) => send(&mut socket, speech.hello(token)).await?,
        None if std::io::stdin().is_terminal() => {
            say::progress("say hello within ten seconds: hello {\"token\":\"…\"}")
        }
        None => {}
    }
    while input.ended.is_none() || !speech.is_answered() {
        let ended = input.ended;
        tokio::select! {
            frame = socket.next() => if !print(frame, &mut speech, all)? { break },
            line = input.next(), if speech.may_go_on() => {
                if let Some(frame) = line.transpose()?.and_then(|line| speech.say(&line)) {
                    send(&mut socket, frame).await?;
                }
            }
            () = patience(ended) => bail!("no answer to {}", speech.due()),
            _ = interrupt.recv() => break,
            _ = terminate.recv() => break,
        }
    }
    drop(tokio::time::timeout(GOODBYE, leave(&mut socket)).await);
    Ok(speech.all_well())
}

async fn connect(url: &str) -> Result<Socket> {
    let uri = url.parse().with_context(|| format!("{url} is no address"))?;
    let request = ClientRequestBuilder::new(uri).with_sub_protocol(SUBPROTOCOL);
    let shaken = tokio::time::timeout(HANDSHAKE, connect_async(request)).await;
    match shaken.with_context(|| format!("{url} does not shake hands"))? {
        Ok((socket, _)) => Ok(socket),
        Err(Error::Http(response)) => {
            let (status, body) = (response.status().as_u16(), response.body().as_deref().unwrap_or_default());
            bail!(closes::refusal(status, body))
        }
        Err(Error::Io(error)) => Err(anyhow!(error).context(format!("cannot reach {url} (is `rookery up` running?)"))),
        Err(error) => Err(anyhow!(error).context(format!("{url} is no WebSocket"))),
    }
}

/// False when nobody reads what is printed.
fn print(frame: Frame, speech: &mut Speech, all: bool) -> Result<bool> {
    match frame {
        Some(Ok(Message::Text(text))) => {
            let went = speech.heard(&text);
            Ok((went == Went::Heartbeat && !all) || say::text(format_args!("{text}\n")).is_ok())
        }
        Some(Ok(Message::Close(close))) => {
            let (code, reason) =
                close.map_or((1005, String::new()), |close| (close.code.into(), close.reason.to_string()));
            bail!(closes::explain(code, &reason))
        }
        // Pings are answered by the library.
        Some(Ok(_)) => Ok(true),
        Some(Err(error)) => Err(anyhow!(error).context("the connection broke")),
        None => bail!("the server ended the connection without a word"),
    }
}

async fn send(socket: &mut Socket, frame: String) -> Result<()> {
    socket.send(Message::text(frame)).await.context("the connection broke")
}

/// Resolves when the last answers are overdue.
async fn patience(ended: Option<Instant>) {
    match ended {
        Some(ended) => tokio::time::sleep_until((ended + LAST_ANSWERS).into()).await,
        None => std::future::pending().await,
    }
}

/// The closing handshake, so that the server counts one who left and not one who was lost.
async fn leave(socket: &mut Socket) {
    let normal = CloseFrame { code: CloseCode::Normal, reason: Utf8Bytes::default() };
    if socket.close(Some(normal)).await.is_ok() {
        while let Some(Ok(_)) = socket.next().await {}
    }
}

fn listen(kind: SignalKind) -> Result<Signal> {
    signal(kind).context("cannot listen for signals")
}
