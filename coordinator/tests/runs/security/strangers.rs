//! Unauthenticated peers that call any method, and authenticated peers that violate the protocol.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures_util::FutureExt;
use hyper_util::rt::TokioIo;
use muster_core::limits;
use muster_proto::v1;
use muster_proto::v1::muster_client::MusterClient;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, SignatureScheme};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};

use crate::security::site::Site;
use muster_testing::processes::{Process, TIMEOUT, address, agent};

/// The source address of the unauthenticated peers, so that they count as another machine than the agents of the same test.
const PEER_ADDRESS: &str = "127.0.0.2:0";

/// Accepts every certificate, because an attacker need not verify the coordinator.
#[derive(Debug)]
struct AnyCertificate;

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}

/// Opens a TLS connection from another address.
pub(crate) async fn encrypted(site: SocketAddr) -> std::io::Result<TlsStream<TcpStream>> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(PEER_ADDRESS.parse().unwrap())?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .unwrap()
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(AnyCertificate))
        .with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let stream = socket.connect(site).await?;
    let name = ServerName::try_from("anything").unwrap();
    TlsConnector::from(Arc::new(config)).connect(name, stream).await
}

async fn channel(site: SocketAddr) -> Channel {
    counting_channel(site, Arc::default()).await
}

/// Opens a channel that reconnects when its connection is closed, and counts its connections.
async fn counting_channel(site: SocketAddr, connections: Arc<AtomicUsize>) -> Channel {
    let connect = move |_| {
        connections.fetch_add(1, Ordering::Relaxed);
        async move { encrypted(site).await.map(TokioIo::new) }.boxed()
    };
    let endpoint = Endpoint::from_shared(format!("http://{site}")).unwrap();
    endpoint.connect_with_connector(Connect(connect)).await.unwrap()
}

/// Wraps a closure as a connector for tonic.
#[derive(Clone)]
struct Connect<F>(F);

impl<F, T, R, E> tonic::codegen::Service<tonic::codegen::http::Uri> for Connect<F>
where
    F: Fn(tonic::codegen::http::Uri) -> T,
    T: Future<Output = Result<R, E>>,
{
    type Response = R;
    type Error = E;
    type Future = T;

    fn poll_ready(&mut self, _: &mut std::task::Context<'_>) -> std::task::Poll<Result<(), E>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: tonic::codegen::http::Uri) -> T {
        (self.0)(uri)
    }
}

/// A request with this join string's secret, or without one.
fn request<T>(message: T, join: Option<&str>) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(join) = join {
        let secret = join.split('.').nth(2).unwrap();
        request.metadata_mut().insert("authorization", format!("Bearer {secret}").parse().unwrap());
    }
    request
}

async fn try_control(channel: &Channel, join: Option<&str>) -> Result<(), Status> {
    let (_held, receiver) = mpsc::channel::<v1::AgentControl>(1);
    let stream = tokio_stream::wrappers::ReceiverStream::new(receiver);
    MusterClient::new(channel.clone()).control(request(stream, join)).await.map(drop)
}

/// Calls a method that grpcurl calls first or that an attacker might guess.
async fn call(channel: &Channel, path: &'static str) -> Status {
    let mut client = tonic::client::Grpc::new(channel.clone());
    client.ready().await.unwrap();
    let codec = tonic_prost::ProstCodec::<(), ()>::default();
    client.unary(Request::new(()), path.parse().unwrap(), codec).await.unwrap_err()
}

#[tokio::test]
async fn without_the_secret_every_method_is_unauthenticated() {
    let Some(site) = Site::open("security_stranger", 1).await else { return };
    let channel = channel(site.address).await;
    for path in [
        "/grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
        "/grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
        "/grpc.health.v1.Health/Check",
        "/muster.v1.Muster/Work",
        "/nothing/AtAll",
    ] {
        let status = call(&channel, path).await;
        assert_eq!(status.code(), Code::Unauthenticated, "{path}: {status}");
        assert!(status.message().contains("--join"), "{status}");
    }
    let status = try_control(&channel, None).await.unwrap_err();
    assert_eq!(status.code(), Code::Unauthenticated);
    let agents = vec![site.honest()];
    site.end(agents).await;
}

#[tokio::test]
async fn the_right_join_string_is_accepted_despite_failures_from_the_same_address() {
    let Some(mut site) = Site::open("security_attempts", 1).await else { return };
    let wrong = site.join_string().to_owned();
    site.rotate().await;
    for _ in 0..10 {
        let channel = channel(site.address).await;
        for _ in 0..20 {
            let refused = try_control(&channel, Some(&wrong)).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated, "{refused}");
        }
        assert!(try_control(&channel, Some(site.join_string())).await.is_ok());
    }
    let logged =
        site.coordinator.wait_for("127.0.0.2 tried to join with a wrong join string and was refused").await;
    assert_eq!(logged.matches("127.0.0.2 tried to join with a wrong join string and was refused").count(), 1);
    let agents = vec![site.honest()];
    site.end(agents).await;
}

#[tokio::test]
async fn oversized_or_malformed_messages_end_only_their_own_session() {
    let Some(mut site) = Site::open("security_malformed", 1).await else { return };
    let join = site.join_string().to_owned();
    let send = async |message: v1::AgentControl| {
        let stream = tokio_stream::once(message);
        // Only as much of the large message is read as a connection may send before its agent has joined.
        let channel = channel(site.address).await;
        let mut client = MusterClient::new(channel).max_encoding_message_size(usize::MAX);
        match client.control(request(stream, Some(&join))).await {
            Ok(answers) => answers.into_inner().message().await.err(),
            Err(status) => Some(status),
        }
    };
    let hello = |version: String| v1::AgentControl {
        kind: Some(v1::agent_control::Kind::Hello(v1::Hello { version, ..v1::Hello::default() })),
    };
    let large = send(hello("x".repeat(limits::MESSAGE_BYTES_MAX + 1))).await.unwrap();
    assert_eq!(large.code(), Code::OutOfRange, "{large}");
    let empty = send(v1::AgentControl::default()).await.unwrap();
    assert_eq!(empty.code(), Code::InvalidArgument, "{empty}");
    let beat = v1::AgentControl { kind: Some(v1::agent_control::Kind::Beat(v1::Beat { number: 1 })) };
    let first = send(beat).await.unwrap();
    assert!(first.message().contains("must be Hello"), "{first}");
    assert!(site.coordinator.is_running());
    let agents = vec![site.honest()];
    site.end(agents).await;
}

#[tokio::test]
async fn connections_without_admission_are_closed() {
    let Some(site) = Site::open_to("security_idle", 2, &["--admission-timeout", "2s"]).await else { return };
    let mut first = site.honest();
    first.wait_for("joined run").await;
    // One connection sends nothing, the other one sends requests.
    let mut silent = encrypted(site.address).await.unwrap();
    let connections = Arc::new(AtomicUsize::new(0));
    let refused = counting_channel(site.address, Arc::clone(&connections)).await;
    let requests = async {
        while connections.load(Ordering::Relaxed) < 2 {
            call(&refused, "/muster.v1.Muster/Control").await;
            sleep(Duration::from_millis(50)).await;
        }
    };
    let mut received = Vec::new();
    let silence = async { drop(silent.read_to_end(&mut received).await) };
    let both = async { tokio::join!(requests, silence) };
    timeout(TIMEOUT, both).await.expect("both connections are closed");
    // The agent's connection stays open, although it is older and has sent only heartbeats since.
    let agents = vec![first, site.honest()];
    assert!(!site.coordinator.stderr().contains("lost"), "{}", site.coordinator.stderr());
    site.end(agents).await;
}

#[tokio::test]
async fn a_replayed_join_is_rejected() {
    let Some(site) = Site::open("security_replayed", 2).await else { return };
    let (between, recording) = record(site.address).await;
    let join = site.files.secret("join", site.join_string());
    let mut recorded = Process::start(agent(between, &["--once", "--join-file", &join]));
    recorded.wait_for("joined run").await;
    let recorded_bytes = recording.lock().unwrap().clone();
    assert!(recorded_bytes.len() > 500, "{} bytes of a join", recorded_bytes.len());

    let mut stream = TcpStream::connect(site.address).await.unwrap();
    stream.write_all(&recorded_bytes).await.unwrap();
    let mut answer = Vec::new();
    let ended = timeout(limits::HELLO_TIMEOUT, stream.read_to_end(&mut answer)).await;
    assert!(ended.is_ok(), "the connection is not ended");
    let joined = site.coordinator.stderr().matches("joined").count();
    let agents = vec![recorded, site.honest()];
    assert_eq!(joined, 1, "{}", site.coordinator.stderr());
    site.end(agents).await;
}

/// A proxy between an agent and its coordinator that records what the agent sends.
async fn record(coordinator: SocketAddr) -> (SocketAddr, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let between = listener.local_addr().unwrap();
    let recording = Arc::new(Mutex::new(Vec::new()));
    let writes = Arc::clone(&recording);
    tokio::spawn(async move {
        let (mut agent, _) = listener.accept().await.unwrap();
        let mut coordinator = TcpStream::connect(coordinator).await.unwrap();
        let (mut from_agent, mut to_agent) = agent.split();
        let (mut from_coordinator, mut to_coordinator) = coordinator.split();
        let up = async {
            let mut block = [0; 8192];
            while let Ok(count @ 1..) = from_agent.read(&mut block).await {
                writes.lock().unwrap().extend_from_slice(&block[..count]);
                if to_coordinator.write_all(&block[..count]).await.is_err() {
                    return;
                }
            }
        };
        tokio::select! {
            () = up => {}
            _ = tokio::io::copy(&mut from_coordinator, &mut to_agent) => {}
        }
    });
    (between, recording)
}

#[tokio::test]
async fn clear_text_on_an_encrypted_port_and_the_reverse_are_reported() {
    let Some(mut site) = Site::open("security_clear", 1).await else { return };
    let mut in_clear = site.agent(&["--insecure"]);
    in_clear.wait_for("waiting for a coordinator").await;
    in_clear.signal("TERM");
    let ended = in_clear.end().await.expect(0).expect_stderr("--join");
    site.record_output(&ended);
    // A silent connection must not delay the agent.
    let _silent = TcpStream::connect(site.address).await.unwrap();
    let join = site.join_string().to_owned();
    let agents = vec![site.honest()];
    site.end(agents).await;

    let files = muster_testing::files::Files::new();
    let Some(open) = Site::start("security_open", address(), files, 1, &[]).await else { return };
    let mut encrypted = open.agent(&["--join", &join]);
    encrypted.wait_for("does not speak TLS").await;
    encrypted.signal("TERM");
    encrypted.end().await.expect(0);
    let agents = vec![open.agent(&["--once"])];
    open.end(agents).await;
}
