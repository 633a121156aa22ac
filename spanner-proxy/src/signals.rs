//! What the operating system tells the process: to stop, or to read again.

use std::io;

use tokio::sync::mpsc;

/// Brings one thing when the process is to stop: SIGTERM, or SIGINT as from Ctrl-C. They
/// count from now on, and no longer end the process by themselves.
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

/// Brings something for each SIGHUP, from now on.
pub(crate) fn hang_ups() -> io::Result<mpsc::Receiver<()>> {
    let (sender, receiver) = mpsc::channel(1);
    #[cfg(unix)]
    {
        use tokio::signal::unix::{SignalKind, signal};
        let mut hang_ups = signal(SignalKind::hangup())?;
        tokio::spawn(async move {
            // One that waits already reads what the next one means.
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
