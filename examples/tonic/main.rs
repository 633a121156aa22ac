//! A minimal tonic service behind a guard.
//!
//! `cargo run --example tonic` starts an identity provider and a guarded Open Inference server. It
//! calls the server over gRPC, once as a caller who is allowed and once as one who is not, and keeps
//! running until interrupted. With `--once` it ends after the calls.

use std::pin::Pin;

use spanner_cedar::Cedar;
use spanner_demo::idp::{Account, Idp};
use spanner_demo::model::{SENTIMENT, Sentiment};
use spanner_ledger::Ledger;
use spanner_tower::{Bearer, GuardLayer, Issuer, Permitted, surface};
use tokio::net::TcpListener;
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::{Channel, Server};
use tonic::{Request, Response, Status, Streaming};

use inference::grpc_inference_service_client::GrpcInferenceServiceClient as Client;
use inference::grpc_inference_service_server::{GrpcInferenceService, GrpcInferenceServiceServer};
use inference::model_infer_request::InferInputTensor;
use inference::model_infer_response::InferOutputTensor;
use inference::{
    InferTensorContents, ModelInferRequest, ModelInferResponse, ModelReadyRequest,
    ModelReadyResponse, ModelStreamInferResponse,
};

/// The messages of the protocol, compiled from `open_inference.proto`.
#[expect(
    clippy::allow_attributes,
    clippy::allow_attributes_without_reason,
    unreachable_pub,
    unused_qualifications,
    reason = "generated"
)]
mod inference {
    tonic::include_proto!("inference");
}

type Failure = Box<dyn std::error::Error>;

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let once = std::env::args().any(|argument| argument == "--once");
    let accounts = vec![
        Account {
            name: "sam",
            groups: &["support"],
        },
        Account {
            name: "tina",
            groups: &["qa"],
        },
    ];
    let idp = Idp::start("models", accounts, Vec::new()).await?;

    let issuer = Issuer::oidc(idp.issuer()).alias("corp").audience("models");
    let callers = Bearer::builder()
        .issuer(issuer.danger_allow_http_loopback())
        .build()?;
    let access = Cedar::from_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/../access"))?;
    let folder = tempfile::tempdir()?;
    let guard = GuardLayer::builder(callers, access, Ledger::open(folder.path())?)
        .environment("production".parse()?)
        .surface(surface::open_inference())
        .build()?;

    let service = GrpcInferenceServiceServer::new(Classifier {
        model: Sentiment::train(),
    });
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let url = format!("http://{}", listener.local_addr()?);
    let server = Server::builder()
        .layer(guard)
        .add_service(service)
        .serve_with_incoming(TcpListenerStream::new(listener));
    let server = tokio::spawn(server);

    for name in ["sam", "tina"] {
        let token = idp.sign_in(name).await?;
        match infer(&url, &token).await {
            Ok(answer) => println!("{name}: {answer}"),
            Err(status) => println!("{name}: {:?}: {}", status.code(), status.message()),
        }
    }
    if !once {
        println!(
            "serving {url} until Ctrl-C; tokens come from {}",
            idp.token_endpoint()
        );
        tokio::signal::ctrl_c().await?;
    }
    server.abort();
    Ok(())
}

/// Classifies texts.
struct Classifier {
    model: Sentiment,
}

impl Classifier {
    fn classify(&self, request: &ModelInferRequest) -> Result<ModelInferResponse, Status> {
        let text = request
            .inputs
            .first()
            .and_then(|input| input.contents.as_ref()?.bytes_contents.first())
            .ok_or_else(|| Status::invalid_argument("send one BYTES tensor with a text"))?;
        let positive = self.model.positive(&String::from_utf8_lossy(text));
        Ok(ModelInferResponse {
            model_name: request.model_name.clone(),
            model_version: request.model_version.clone(),
            id: request.id.clone(),
            outputs: vec![InferOutputTensor {
                name: "positive".to_owned(),
                datatype: "FP32".to_owned(),
                shape: vec![1],
                contents: Some(InferTensorContents {
                    fp32_contents: vec![positive],
                    ..InferTensorContents::default()
                }),
            }],
        })
    }
}

#[tonic::async_trait]
impl GrpcInferenceService for Classifier {
    async fn model_ready(
        &self,
        _: Request<ModelReadyRequest>,
    ) -> Result<Response<ModelReadyResponse>, Status> {
        Ok(Response::new(ModelReadyResponse { ready: true }))
    }

    async fn model_infer(
        &self,
        request: Request<ModelInferRequest>,
    ) -> Result<Response<ModelInferResponse>, Status> {
        let Some(Permitted(access)) = request.extensions().get::<Permitted>() else {
            return Err(Status::internal("this service is not guarded"));
        };
        println!("decision {} lets {} in", access.decision, access.caller);
        self.classify(request.get_ref()).map(Response::new)
    }

    type ModelStreamInferStream =
        Pin<Box<dyn Stream<Item = Result<ModelStreamInferResponse, Status>> + Send>>;

    async fn model_stream_infer(
        &self,
        request: Request<Streaming<ModelInferRequest>>,
    ) -> Result<Response<Self::ModelStreamInferStream>, Status> {
        let classifier = Self {
            model: self.model.clone(),
        };
        let answers = request.into_inner().map(move |request| {
            let response = classifier.classify(&request?)?;
            Ok(ModelStreamInferResponse {
                error_message: String::new(),
                infer_response: Some(response),
            })
        });
        Ok(Response::new(Box::pin(answers)))
    }
}

/// Gets a token as a client does, and makes a call with it.
async fn infer(url: &str, token: &str) -> Result<String, Status> {
    let channel = Channel::from_shared(url.to_owned())
        .map_err(|error| Status::internal(error.to_string()))?
        .connect()
        .await
        .map_err(|error| Status::unavailable(error.to_string()))?;
    let mut request = Request::new(ModelInferRequest {
        model_name: SENTIMENT.to_owned(),
        inputs: vec![InferInputTensor {
            name: "text".to_owned(),
            datatype: "BYTES".to_owned(),
            shape: vec![1],
            contents: Some(InferTensorContents {
                bytes_contents: vec![b"thanks, the support was quick and helpful".to_vec()],
                ..InferTensorContents::default()
            }),
        }],
        ..ModelInferRequest::default()
    });
    let bearer = format!("Bearer {token}");
    let bearer = bearer
        .parse()
        .map_err(|_| Status::internal("the token is no header value"))?;
    request.metadata_mut().insert("authorization", bearer);
    let response = Client::new(channel)
        .model_infer(request)
        .await?
        .into_inner();
    let positive = response
        .outputs
        .first()
        .and_then(|output| output.contents.as_ref()?.fp32_contents.first().copied())
        .unwrap_or_default();
    Ok(format!("positive with probability {positive:.2}"))
}
