//! A way to the ensemble that can be cut, and that can swallow answers.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Notify, watch};

/// The operation of a transaction (ZooKeeper's `OpCode.multi`).
const MULTI: u32 = 14;

/// What becomes of a write.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Fate {
    /// It arrives; on this connection nothing comes back any more.
    LosesItsAnswer,
    /// It does not arrive, and nothing comes back any more.
    IsLost,
    /// The client's connection ends, and it arrives when it is released.
    ArrivesLate,
}

/// One proxy in front of one server.
#[derive(Clone)]
pub(crate) struct Proxy {
    pub(crate) address: SocketAddr,
    cut: watch::Sender<u64>,
    closed: Arc<AtomicBool>,
    deaf: Arc<AtomicBool>,
    fate: Arc<Mutex<Option<Fate>>>,
    released: Arc<Notify>,
}

impl Proxy {
    pub(crate) async fn to(server: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let proxy = Self {
            address: listener.local_addr().unwrap(),
            cut: watch::Sender::new(0),
            closed: Arc::default(),
            deaf: Arc::default(),
            fate: Arc::default(),
            released: Arc::default(),
        };
        let own = proxy.clone();
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if !own.closed.load(Ordering::SeqCst) {
                    tokio::spawn(own.clone().carry(client, server.clone()));
                }
            }
        });
        proxy
    }

    /// Ends every connection, and lets none through until [`Proxy::open`].
    pub(crate) fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        self.cut();
    }

    pub(crate) fn open(&self) {
        self.closed.store(false, Ordering::SeqCst);
        self.deaf.store(false, Ordering::SeqCst);
    }

    /// Requests still go through, answers do not.
    pub(crate) fn swallow_answers(&self) {
        self.deaf.store(true, Ordering::SeqCst);
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        self.cut.send_modify(|times| *times += 1);
    }

    /// What becomes of the next write that goes through.
    pub(crate) fn next_write(&self, fate: Fate) {
        *self.fate.lock().unwrap() = Some(fate);
    }

    /// Sends on the write that was held.
    pub(crate) fn release(&self) {
        self.released.notify_one();
    }

    async fn carry(self, mut client: TcpStream, server: String) {
        let mut cut = self.cut.subscribe();
        let Ok(mut server) = TcpStream::connect(server).await else { return };
        let (mut from_client, mut to_client) = client.split();
        let (mut from_server, mut to_server) = server.split();
        let deaf = AtomicBool::new(false);
        let held = Mutex::new(Vec::new());
        let requests = async {
            while let Ok(length) = from_client.read_u32().await {
                let mut request = vec![0; length as usize];
                from_client.read_exact(&mut request).await?;
                let mut frame = length.to_be_bytes().to_vec();
                frame.extend(&request);
                let is_write = request.get(4..8) == Some(&MULTI.to_be_bytes());
                match if is_write { self.fate.lock().unwrap().take() } else { None } {
                    None => to_server.write_all(&frame).await?,
                    Some(Fate::LosesItsAnswer) => {
                        deaf.store(true, Ordering::SeqCst);
                        to_server.write_all(&frame).await?;
                    }
                    Some(Fate::IsLost) => deaf.store(true, Ordering::SeqCst),
                    Some(Fate::ArrivesLate) => {
                        held.lock().unwrap().extend(frame);
                        break;
                    }
                }
            }
            std::io::Result::Ok(())
        };
        let answers = async {
            let mut buffer = vec![0; 65_536];
            loop {
                let count = from_server.read(&mut buffer).await?;
                if count == 0 {
                    return std::io::Result::Ok(());
                }
                if !self.deaf.load(Ordering::SeqCst) && !deaf.load(Ordering::SeqCst) {
                    to_client.write_all(&buffer[..count]).await?;
                }
            }
        };
        tokio::select! { _ = requests => {}, _ = answers => {}, _ = cut.changed() => {} }
        let held = held.into_inner().unwrap();
        if !held.is_empty() {
            // The client has gone elsewhere; what it sent is still on its way.
            drop(client);
            self.released.notified().await;
            let _gone = server.write_all(&held).await;
            let mut answer = [0; 1024];
            let _any = server.read(&mut answer).await;
        }
    }
}
