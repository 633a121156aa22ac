//! Signals of the operating system: to stop, and to reload.

use std::io;

use tokio::sync::mpsc;

/// Receives a value on SIGTERM, or on SIGINT as from Ctrl-C. From now on these signals no longer end
/// the process by themselves.
pub(crate) fn stops() -> io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(1);
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let (mut term, mut int) = (
            signal(SignalKind::terminate())?,
            signal(SignalKind::interrupt())?,
        );
        tokio::spawn(async move {
            tokio::select! {
                _ = term.recv() => {}
                _ = int.recv() => {}
            }
            let _: Result<(), _> = sender.try_send(());
        });
    }
    #[cfg(not(unix))]
    tokio::spawn(async move {
        let _: io::Result<()> = tokio::signal::ctrl_c().await;
        let _: Result<(), _> = sender.try_send(());
    });
    Ok(receiver)
}

/// Receives a value for each SIGHUP from now on. Signals that arrive while one is pending are merged.
pub(crate) fn hang_ups() -> io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(1);
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hang_ups = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            while hang_ups.recv().await.is_some() {
                let _: Result<(), _> = sender.try_send(());
                if sender.is_closed() {
                    return;
                }
            }
        });
    }
    #[cfg(not(unix))]
    tokio::spawn(async move { sender.closed().await });
    Ok(receiver)
}
