//! Providers that answer badly: the rows of `data/providers.toml`, over real HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use serde::Deserialize;
use spanner_core::token::Algorithm;
use spanner_tower::mock_idp::MockIdp;
use spanner_tower::{Bearer, Issuer};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use crate::support::{code, now, status, token};

#[derive(Deserialize)]
struct Table {
    row: Vec<Row>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Row {
    is: String,
    /// The answer to the request for metadata; `{issuer}` stands for the issuer.
    metadata: Option<String>,
    /// The answer to the request for keys; `{keys}` stands for a good key set.
    keys: Option<String>,
    /// Bytes that are sent again and again after the answer, until nobody takes them.
    endless: Option<String>,
    /// The code that a caller gets.
    code: String,
    /// What the operator finds in `readiness()`.
    says: Option<String>,
    /// How many requests the provider may see at most.
    requests: usize,
}

const METADATA: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{\"issuer\": \"{issuer}\", \"jwks_uri\": \"{issuer}/keys\"}";
const KEYS: &str = "HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{keys}";

impl Row {
    async fn check(&self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let issuer = format!("http://{}", listener.local_addr().unwrap());
        let idp = MockIdp::of(&issuer, Algorithm::Es256);
        idp.set_now(now());
        let requests = Arc::new(AtomicUsize::new(0));
        let server = tokio::spawn(serve(listener, self.clone(), idp.clone(), requests.clone()));
        let config = Issuer::oidc(&issuer).alias("mock").audience("models");
        let config = config.danger_allow_http_loopback();
        let bearer = Bearer::builder().issuer(config).build().unwrap();
        let is = &self.is;
        assert_eq!(
            code(&bearer, &token(&idp).sign()).await,
            self.code,
            "{is}: {:?}",
            status(&bearer)
        );
        let error = status(&bearer).last_error;
        match &self.says {
            Some(says) => assert!(error.as_ref().unwrap().contains(says), "{is}: {error:?}"),
            None => assert_eq!(error, None, "{is}"),
        }
        let requests = requests.load(Ordering::SeqCst);
        assert!(requests <= self.requests, "{is}: {requests} requests");
        server.abort();
    }
}

async fn serve(listener: TcpListener, row: Row, idp: MockIdp, requests: Arc<AtomicUsize>) {
    while let Ok((stream, _)) = listener.accept().await {
        requests.fetch_add(1, Ordering::SeqCst);
        let (row, idp) = (row.clone(), idp.clone());
        tokio::spawn(async move { answer(stream, &row, &idp).await });
    }
}

/// A client that leaves in the middle is what some rows are about.
async fn answer(mut stream: TcpStream, row: &Row, idp: &MockIdp) -> std::io::Result<()> {
    let mut head = [0; 1024];
    let length = stream.read(&mut head).await?;
    let head = String::from_utf8_lossy(head.get(..length).unwrap_or_default()).into_owned();
    let is_keys = head.starts_with("GET /keys");
    let text = match is_keys {
        true => row.keys.as_deref().unwrap_or(KEYS),
        false => row.metadata.as_deref().unwrap_or(METADATA),
    };
    let text = text
        .replace("{issuer}", idp.issuer())
        .replace("{keys}", &idp.jwks());
    stream.write_all(text.as_bytes()).await?;
    if let (true, Some(endless)) = (is_keys, &row.endless) {
        loop {
            stream.write_all(endless.repeat(1024).as_bytes()).await?;
        }
    }
    stream.shutdown().await
}

#[tokio::test]
async fn each_bad_answer_is_refused_and_explained() {
    let table: Table = toml::from_str(include_str!("../data/providers.toml")).unwrap();
    assert!(table.row.len() >= 20);
    for row in &table.row {
        row.check().await;
    }
}
