//! The proxy, running.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use serde_json::json;
use spanner_admin::Promotions;
use spanner_admin::operate::{AccessWatch, Detail, MonitoredLedger, Readiness};
use spanner_ledger::{CloseError, Ledger, OpenError};
use spanner_toml::Problems;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinSet, spawn_blocking};
use tokio::time::sleep;

use crate::checkpoints::shipping;
use crate::crowd::Crowd;
use crate::health::{Health, RevocationList};
use crate::load::{Loaded, ledger_words};
use crate::reload::Reload;
use crate::server::{self, Bounds, Callers, Front};
use crate::ship::Ships;
use crate::talk::Talks;
use crate::trust::Trust;
use crate::{files, meters, signals};

/// A proxy that serves until it is stopped.
#[derive(Debug)]
#[must_use = "it serves only while it is kept"]
pub struct Service {
    address: SocketAddr,
    admin: Option<SocketAddr>,
    ledger: Ledger,
    talks: Talks,
    ships: Ships,
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

/// Why the proxy does not serve, or did not end well.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServiceError {
    /// Nobody could come in at an address.
    #[error(
        "`{key} = \"{address}\"` cannot be listened at: {source}; {}",
        listen_advice(source)
    )]
    Listen {
        /// The key of the configuration that names it.
        key: &'static str,
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// Nothing could be recorded.
    #[error("{}", said(ledger_words(.0)))]
    Ledger(OpenError),
    /// What was promoted cannot be put in force.
    #[error(transparent)]
    Promotions(#[from] spanner_admin::OpenError),
    /// The file of checkpoints cannot be appended to.
    #[error(
        "checkpoints cannot be appended to `{}`: {source}; correct `checkpoints` of `[ledger]`",
        .file.display()
    )]
    Checkpoints {
        /// The file.
        file: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// Entries cannot be sent elsewhere.
    #[error("the ledger cannot be shipped by `[[ship]]` {0}")]
    Ship(io::Error),
    /// The guards cannot be built.
    #[error(transparent)]
    Problems(#[from] Problems),
    /// The operating system's signals cannot be waited for.
    #[error("signals cannot be waited for: {0}")]
    Signals(#[source] io::Error),
    /// The ledger was not closed well.
    #[error(transparent)]
    Close(#[from] CloseError),
    /// A part of it ended with a panic.
    #[error("a part of the proxy ended unexpectedly")]
    Abandoned,
}

/// How long is waited at start for keys before the first request may have to.
const WARM_UP: Duration = Duration::from_secs(5);
/// How often keys are asked for that are not at hand, and the counted is put in order.
const KEEP: Duration = Duration::from_secs(2);

/// What is recorded, and what the record puts in force.
struct Records {
    ledger: MonitoredLedger,
    promotions: Promotions,
}

impl Service {
    /// Opens the ledger, listens, and serves.
    ///
    /// # Errors
    /// [`ServiceError`]; nothing runs then.
    pub async fn start(loaded: Loaded) -> Result<Self, ServiceError> {
        meters::install();
        // Before anybody can know that it runs: until then SIGHUP ends the process.
        let ask = signals::hang_ups().map_err(ServiceError::Signals)?;
        let config = &loaded.config;
        for hint in &config.hints {
            tracing::warn!("{hint}");
        }
        let listener = listen("listen", config.listen).await?;
        let admin = match config.admin_listen {
            Some(address) => Some(listen("admin_listen", address).await?),
            None => None,
        };
        let mut builder = Ledger::builder(&config.ledger).durability(config.durability);
        if let Some(age) = config.keep_for {
            builder = builder.keep_for(age);
        }
        if let Some(bytes) = config.keep_bytes {
            builder = builder.keep_bytes(bytes);
        }
        if let Some(note) = &config.note {
            builder = builder.note(note);
        }
        let builder = shipping(builder, &config.checkpoints)?;
        let opened = spawn_blocking(move || builder.open()).await;
        let opened = opened.map_err(|_| ServiceError::Abandoned)?;
        let ledger = opened.map_err(ServiceError::Ledger)?;
        let ships = Ships::start(&config.ledger, &config.ship).map_err(ServiceError::Ship)?;
        let monitored = MonitoredLedger::new(ledger.clone());
        let promotions = Promotions::open(loaded.access.clone(), ledger.clone()).await?;
        let administration = loaded.administration(promotions.clone(), &monitored)?;
        let dispatch = loaded.dispatch(&monitored)?;
        let callers = Callers {
            dispatch,
            administration,
            scheme: scheme(config.public_origin.as_deref()),
            turns: Crowd::new(config.max_requests),
        };
        let (stop, stopped) = watch::channel(false);
        let mut service = Self {
            address: address_of(&listener, config.listen),
            admin: admin
                .as_ref()
                .zip(config.admin_listen)
                .map(|(listener, asked)| address_of(listener, asked)),
            ledger,
            talks: loaded.talks.clone(),
            ships,
            stop,
            tasks: JoinSet::new(),
        };
        let records = Records {
            ledger: monitored,
            promotions,
        };
        service.run(listener, admin, callers, loaded, records, (ask, stopped));
        Ok(service)
    }

    fn run(
        &mut self,
        listener: TcpListener,
        admin: Option<TcpListener>,
        callers: Callers,
        loaded: Loaded,
        records: Records,
        (ask, stopped): (mpsc::Receiver<()>, watch::Receiver<bool>),
    ) {
        let Records { ledger, promotions } = records;
        let Loaded {
            config,
            bearer,
            access,
            revocations,
            access_seen,
            shadow_seen,
            revocations_seen,
            fixed,
            ..
        } = loaded;
        let list = revocations_seen.map(|seen| {
            let stale = Arc::default();
            let list = revocations;
            (seen, RevocationList { list, stale })
        });
        let health = Health {
            readiness: Readiness {
                bearer: bearer.clone(),
                access: access.clone(),
                promotions: promotions.clone(),
                ledger: ledger.clone(),
            },
            ships: self.ships.watches(),
            revocations: list.as_ref().map(|(_, list)| list.clone()),
            detail: Detail::Full,
        };
        let bounds = Bounds {
            connections: files::connections(config.max_connections),
            per_peer: config.limits.connections_per_peer,
            idle: config.limits.idle,
            stall: config.limits.stall,
        };
        let front = Front {
            health: admin.is_none().then(|| Health {
                detail: config.public_probes,
                ..health.clone()
            }),
            callers: Some(callers),
        };
        let tasks = &mut self.tasks;
        tasks.spawn(server::run(listener, front, bounds, stopped.clone()));
        if let Some(admin) = admin {
            let front = Front {
                health: Some(health),
                callers: None,
            };
            tasks.spawn(server::run(admin, front, bounds, stopped.clone()));
        }
        let mut watch = AccessWatch::new(promotions, ledger.clone(), access_seen);
        if let Some(dir) = shadow_seen {
            watch = watch.candidate(dir);
        }
        let reload = Reload {
            access: watch,
            revocations: list,
            trust: Trust::new(bearer.clone(), &config),
            fixed,
        };
        tasks.spawn(reload.run(ask, stopped.clone()));
        tasks.spawn(inspect(ledger.clone(), stopped.clone()));
        tasks.spawn(keep(bearer, stopped));
        tasks.spawn(async move {
            let body = json!({"digest": &*access.digest()});
            ledger.event("access.in_force", body).await;
            if let Some(candidate) = access.candidate() {
                let body = json!({"digest": &*candidate.digest()});
                ledger.event("candidate.tried_out", body).await;
            }
        });
    }

    /// Where callers come in.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where probes and metrics are served, if that is elsewhere.
    #[must_use]
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// Stops accepting, lets open requests end for at most 30 seconds, settles every
    /// record and closes the ledger.
    ///
    /// # Errors
    /// [`ServiceError`] if something could not be stored.
    pub async fn stop(mut self) -> Result<(), ServiceError> {
        self.stop.send_replace(true);
        while let Some(ended) = self.tasks.join_next().await {
            ended.map_err(|_| ServiceError::Abandoned)?;
        }
        self.talks.end().await;
        let ledger = self.ledger.clone();
        let ships = self.ships;
        let closed = spawn_blocking(move || {
            let closed = ledger.close();
            ships.finish();
            closed
        });
        let closed = closed.await;
        Ok(closed.map_err(|_| ServiceError::Abandoned)??)
    }
}

/// Serves until the operating system says to stop: SIGTERM, or SIGINT as from Ctrl-C. Calls
/// `started` once the proxy accepts connections.
///
/// # Errors
/// [`ServiceError`] if it does not start, or if something could not be stored at the end.
pub async fn serve(loaded: Loaded, started: impl FnOnce(&Service)) -> Result<(), ServiceError> {
    let mut stops = signals::stops().map_err(ServiceError::Signals)?;
    let upstreams = loaded.config.upstreams.len();
    let service = Service::start(loaded).await?;
    tracing::info!(address = %service.address(), upstreams, "serving");
    if let Some(admin) = service.admin_address() {
        tracing::info!(address = %admin, "probes and metrics");
    }
    started(&service);
    stops.recv().await;
    tracing::info!("stopping: no more connections, open requests may end");
    service.stop().await?;
    tracing::info!("stopped: every record is settled and synced");
    Ok(())
}

async fn listen(key: &'static str, address: SocketAddr) -> Result<TcpListener, ServiceError> {
    let listener = TcpListener::bind(address).await;
    listener.map_err(|source| ServiceError::Listen {
        key,
        address,
        source,
    })
}

fn listen_advice(fault: &io::Error) -> &'static str {
    match fault.kind() {
        io::ErrorKind::AddrInUse => "another program listens there: stop it, or take another port",
        io::ErrorKind::AddrNotAvailable => "this machine has no such address: take one that it has",
        io::ErrorKind::PermissionDenied => {
            "ports below 1024 are for privileged processes: take another"
        }
        _ => "take another address",
    }
}

/// What is wrong, and what to do.
fn said((what, advice): (String, String)) -> String {
    match advice.is_empty() {
        true => what,
        false => format!("{what}; {advice}"),
    }
}

/// Looks whether the files of the ledger are still there.
async fn inspect(ledger: MonitoredLedger, mut stop: watch::Receiver<bool>) {
    loop {
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = sleep(KEEP) => {}
        }
        ledger.inspect().await;
    }
}

/// Where a listener is, with the port that it got.
fn address_of(listener: &TcpListener, asked: SocketAddr) -> SocketAddr {
    listener.local_addr().unwrap_or(asked)
}

/// The scheme that callers use, whoever ends their TLS.
fn scheme(origin: Option<&str>) -> &'static str {
    match origin {
        Some(origin) if origin.starts_with("https:") => "https",
        _ => "http",
    }
}

/// Asks for keys until they are at hand, so that a proxy to which nobody sends requests
/// while it is not ready becomes so by itself.
async fn keep(bearer: spanner_tower::Bearer, mut stop: watch::Receiver<bool>) {
    let mut told = false;
    loop {
        let warmed = tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            warmed = bearer.warm_up(WARM_UP) => warmed,
        };
        match (warmed, told) {
            (Err(error), false) => tracing::warn!("{error}; their callers get 503 until then"),
            (Ok(()), true) => tracing::info!("the keys of every issuer are at hand"),
            _ => {}
        }
        told = bearer.readiness().iter().any(|issuer| !issuer.is_ready());
        meters::upkeep();
        tokio::select! {
            _ = stop.wait_for(|stop| *stop) => return,
            () = sleep(KEEP) => {}
        }
    }
}
